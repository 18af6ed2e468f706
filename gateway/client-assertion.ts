import { constants, createHash, createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto'

/** What an application shows in place of a secret: its certificate, which the cloud knows, and the RSA key of it. PEM. */
export type ClientCertificate = { readonly cert: string; readonly key: string }

/** Seconds. Microsoft asks for five to ten minutes at most; it is used at once. */
const LIFETIME = 300

/**
 * Makes assertions by which an application says who it is to the token endpoint `audience` (RFC 7523 2.2), as Microsoft Entra wants them: signed
 * PS256, the certificate named by `x5t#S256` (RFC 7515 4.1.8). Each is good for five minutes and has an id of its own.
 */
export function createClientAssertions({ cert, key }: ClientCertificate, clientId: string, audience: string) {
  const signer = { key: createPrivateKey(key), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
  const thumbprint = createHash('sha256').update(new X509Certificate(cert).raw).digest('base64url')
  const header = encoded({ alg: 'PS256', typ: 'JWT', 'x5t#S256': thumbprint })
  return (now: Date = new Date()): string => {
    const iat = Math.floor(now.getTime() / 1000)
    const claims = {
      aud: audience,
      iss: clientId,
      sub: clientId,
      jti: randomUUID(),
      iat,
      nbf: iat,
      exp: iat + LIFETIME,
    }
    const signed = `${header}.${encoded(claims)}`
    return `${signed}.${sign('sha256', Buffer.from(signed), signer).toString('base64url')}`
  }
}

function encoded(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
