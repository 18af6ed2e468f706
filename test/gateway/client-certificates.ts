import '../../cli/reflection.ts'

import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralNames,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const day = 86_400_000

export type Maker = { readonly pem: string; readonly certificate: X509Certificate; readonly keys: CryptoKeyPair }

/** An authority: of its own, or below another. */
export async function makeAuthority(name: string, above?: Maker): Promise<Maker> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const extensions = [new BasicConstraintsExtension(true, undefined, true)]
  const certificate = await X509CertificateGenerator.create({
    ...{ subject: `CN=${name}`, issuer: above?.certificate.subject ?? `CN=${name}`, publicKey: keys.publicKey },
    ...{ signingKey: above?.keys.privateKey ?? keys.privateKey, signingAlgorithm: algorithm, extensions },
    ...{ notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) },
  })
  return { pem: `${certificate.toString('pem')}\n`, certificate, keys }
}

/** A client's certificate and key, PEM; `daysLeft` may be past. */
export async function makeClient(
  by: Maker,
  commonName: string,
  sans: JsonGeneralNames,
  daysLeft = 1,
  usage = 'clientAuth',
) {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const purpose = usage === 'clientAuth' ? ExtendedKeyUsage.clientAuth : ExtendedKeyUsage.serverAuth
  const certificate = await X509CertificateGenerator.create({
    ...{ subject: `CN=${commonName}`, issuer: by.certificate.subject, publicKey: keys.publicKey },
    ...{ signingKey: by.keys.privateKey, signingAlgorithm: algorithm },
    ...{ notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() + daysLeft * day) },
    extensions: [
      new ExtendedKeyUsageExtension([purpose]),
      ...(sans.length > 0 ? [new SubjectAlternativeNameExtension(sans)] : []),
    ],
  })
  const key = await crypto.subtle.exportKey('pkcs8', keys.privateKey)
  const pem = `-----BEGIN PRIVATE KEY-----\n${Buffer.from(key).toString('base64')}\n-----END PRIVATE KEY-----\n`
  return { cert: `${certificate.toString('pem')}\n`, key: pem }
}
