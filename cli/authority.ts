import './reflection.ts'

import { X509Certificate as Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'

/** A certificate and its private key, both PEM (PKCS #8). */
export type Pair = { readonly cert: string; readonly key: string }

/** What a certificate is for: a server by names and addresses, or a client by the URI that the key server authorises. */
export type Purpose =
  | { readonly kind: 'server'; readonly names: readonly string[] }
  | { readonly kind: 'client'; readonly role: 'gateway' | 'officer'; readonly name: string }

const CURVE = { name: 'ECDSA', namedCurve: 'P-256' } as const
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const
const DAY = 86_400_000
/** Clocks of one house differ; a certificate made a moment ago must be valid on all of them. */
const BACKDATED = 5 * 60_000

const { subtle } = globalThis.crypto

/** Makes a local authority: P-256, ten years, fit to sign end certificates only. */
export async function createAuthority(now: Date): Promise<Pair> {
  const keys = await subtle.generateKey(CURVE, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ O: ['Sealpost'] }, { CN: [`Sealpost local authority ${now.toISOString().slice(0, 10)}`] }],
    keys,
    signingAlgorithm: SIGNATURE,
    notBefore: new Date(now.getTime() - BACKDATED),
    notAfter: new Date(now.getTime() + 3653 * DAY),
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey, false),
    ],
  })
  return { cert: `${certificate.toString('pem')}\n`, key: await toPem(keys.privateKey) }
}

/** Makes a key and a certificate for one purpose, signed by `authority`, valid for a year or as long as the authority if shorter. */
export async function issuePair(authority: Pair, purpose: Purpose, now: Date): Promise<Pair> {
  const issuer = new X509Certificate(authority.cert)
  const keys = await subtle.generateKey(CURVE, true, ['sign', 'verify'])
  const server = purpose.kind === 'server'
  const certificate = await X509CertificateGenerator.create({
    subject: [{ O: ['Sealpost'] }, { CN: [commonName(purpose)] }],
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey: await fromPem(authority.key),
    signingAlgorithm: SIGNATURE,
    notBefore: new Date(now.getTime() - BACKDATED),
    notAfter: new Date(Math.min(now.getTime() + 365 * DAY, issuer.notAfter.getTime())),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([server ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension(alternativeNames(purpose)),
      await SubjectKeyIdentifierExtension.create(keys.publicKey, false),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey, false),
    ],
  })
  return { cert: `${certificate.toString('pem')}\n`, key: await toPem(keys.privateKey) }
}

/** The purpose for which {@link issuePair} made `cert` under `authority`, read back for its renewal; null if it did not. */
export function purposeOf(cert: string, authority: Pair): Purpose | null {
  if (!madeBy(cert, authority)) return null
  const names = new X509Certificate(cert).getExtension(SubjectAlternativeNameExtension)?.names.items ?? []
  const uri = names.find((name) => name.type === 'url')?.value
  if (uri === undefined) {
    const hosts = names.filter((name) => name.type === 'dns' || name.type === 'ip').map((name) => name.value)
    return hosts.length > 0 ? { kind: 'server', names: hosts } : null
  }
  const match = /^sealpost:(gateway|officer):(.+)$/.exec(uri)
  if (match?.[2] === undefined) return null
  return { kind: 'client', role: match[1] === 'gateway' ? 'gateway' : 'officer', name: match[2] }
}

function madeBy(cert: string, authority: Pair): boolean {
  try {
    return new Certificate(cert).verify(new Certificate(authority.cert).publicKey)
  } catch {
    return false // Not a certificate at all: not ours.
  }
}

function commonName(purpose: Purpose): string {
  return purpose.kind === 'server' ? (purpose.names[0] ?? 'server').slice(0, 64) : `${purpose.role} ${purpose.name}`
}

function alternativeNames(purpose: Purpose): JsonGeneralNames {
  if (purpose.kind === 'client') return [{ type: 'url', value: `sealpost:${purpose.role}:${purpose.name}` }]
  return purpose.names.map((name) => ({ type: isIP(name) === 0 ? 'dns' : 'ip', value: name }))
}

async function toPem(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await subtle.exportKey('pkcs8', key))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`
}

async function fromPem(pem: string): Promise<CryptoKey> {
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  return subtle.importKey('pkcs8', der, CURVE, false, ['sign'])
}
