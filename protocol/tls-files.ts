import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readPublicFile, readSecretFile } from './secret-file.ts'

/** Paths of PEM files. `ca` is the bundle of authorities whose certificates the other side may show. */
export type TlsPaths = { readonly cert: string; readonly key: string; readonly ca?: string | undefined }

/** PEM text, ready for `tls.createSecureContext`. `expiresAt` is the end of the own certificate. */
export type TlsFiles = {
  readonly cert: string
  readonly key: string
  readonly ca?: string
  readonly expiresAt: Date
}

export type TlsLoad =
  | { readonly kind: 'loaded'; readonly files: TlsFiles }
  | { readonly kind: 'faults'; readonly faults: readonly string[] }

/**
 * Loads and checks the files of one TLS end: each must be there and readable, the key reachable by its owner alone and without a
 * pass phrase, the certificate valid at `now` and made for that key, the bundle not empty and not wholly outdated. Never throws;
 * every fault found is a sentence that names the file and says what to do, and none of them quotes a file's content.
 */
export function loadTlsFiles(paths: TlsPaths, now: Date = new Date()): TlsLoad {
  const faults: string[] = []
  const cert = loadCertificate(paths.cert, now, faults)
  const key = loadKey(paths.key, faults)
  const ca = paths.ca === undefined ? undefined : loadBundle(paths.ca, now, faults)
  if (cert && key && !cert.first.checkPrivateKey(key.object)) {
    faults.push(
      `${paths.key}: this key does not belong to the certificate in ${paths.cert}; name the pair that was made together`,
    )
  }
  if (faults.length > 0 || !cert || !key) return { kind: 'faults', faults }
  const files = { cert: cert.pem, key: key.pem, expiresAt: new Date(cert.first.validTo) }
  return { kind: 'loaded', files: ca === undefined ? files : { ...files, ca } }
}

function loadCertificate(path: string, now: Date, faults: string[]): { pem: string; first: X509Certificate } | null {
  const read = readPublicFile(path, 'the certificate')
  if (read.kind === 'fault') return note(faults, read.fault)
  const pem = read.content.toString('latin1')
  const [first] = certificatesIn(pem) ?? []
  if (first === undefined)
    return note(faults, `${path}: holds no readable PEM certificate; name the certificate file here`)
  const fault = validityFault(first, now)
  if (fault !== null) return note(faults, `${path}: ${fault}`)
  return { pem, first }
}

function loadKey(path: string, faults: string[]): { pem: string; object: KeyObject } | null {
  const read = readSecretFile(path, 'the private key')
  if (read.kind === 'fault') return note(faults, read.fault)
  const pem = read.content.toString('latin1')
  if (/^(?:-----BEGIN ENCRYPTED|Proc-Type: 4,ENCRYPTED)/m.test(pem)) {
    return note(faults, `${path}: the private key has a pass phrase; store it without one`)
  }
  try {
    return { pem, object: createPrivateKey(pem) }
  } catch {
    return note(faults, `${path}: holds no readable PEM private key; name the key file here`)
  }
}

function loadBundle(path: string, now: Date, faults: string[]): string | undefined {
  const read = readPublicFile(path, 'the authority bundle')
  if (read.kind === 'fault') {
    faults.push(read.fault)
    return undefined
  }
  const pem = read.content.toString('latin1')
  const authorities = certificatesIn(pem)
  if (authorities === null)
    faults.push(`${path}: holds no readable PEM certificate; name the authority's certificate here`)
  else if (authorities.every((one) => validityFault(one, now) !== null)) {
    faults.push(`${path}: no authority in it is valid today; put the current authority's certificate here`)
  }
  return pem
}

/** Every certificate of a PEM text in order; null if there is none, or one that cannot be read. */
function certificatesIn(pem: string): X509Certificate[] | null {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g)
  try {
    return blocks?.map((block) => new X509Certificate(block)) ?? null
  } catch {
    return null // The caller says which file; the parser's own words would help nobody.
  }
}

function validityFault(certificate: X509Certificate, now: Date): string | null {
  const from = new Date(certificate.validFrom)
  const to = new Date(certificate.validTo)
  if (Number.isNaN(from.getTime()) || Number.isNaN(to.getTime())) {
    return 'the dates of this certificate cannot be read; use another certificate'
  }
  if (now < from) {
    return `this certificate is not valid before ${from.toISOString()}; check the clock, or use another certificate`
  }
  if (now > to) return `this certificate expired on ${to.toISOString()}; renew it (certs/README.md says how)`
  return null
}

function note(faults: string[], fault: string): null {
  faults.push(fault)
  return null
}
