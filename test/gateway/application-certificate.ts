import '../../cli/reflection.ts'

import { X509CertificateGenerator } from '@peculiar/x509'

/** A certificate as it is uploaded to an application: signed by itself, with an RSA key of so many bits. Both PEM. */
export async function makeApplicationCertificate(modulusLength = 2048, days = 365) {
  const now = Date.now()
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]) }
  const keys = await globalThis.crypto.subtle.generateKey({ ...algorithm, modulusLength }, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: ['the application'] }],
    ...{ keys, signingAlgorithm: algorithm },
    notBefore: new Date(now - 60_000),
    notAfter: new Date(now + days * 86_400_000),
  })
  const der = Buffer.from(await globalThis.crypto.subtle.exportKey('pkcs8', keys.privateKey))
  const key = `-----BEGIN PRIVATE KEY-----\n${der.toString('base64')}\n-----END PRIVATE KEY-----\n`
  return { cert: `${certificate.toString('pem')}\n`, key }
}
