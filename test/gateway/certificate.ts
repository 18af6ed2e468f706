import { createHash, X509Certificate } from 'node:crypto'
import { createAuthority, issuePair } from '../../cli/authority.ts'

/** A server's key and certificate for one DNS name, the authority behind it, and its pin (SHA-256 of its SubjectPublicKeyInfo, base64). */
export async function makeCertificate(name: string) {
  const now = new Date()
  const authority = await createAuthority(now)
  const pair = await issuePair(authority, { kind: 'server', names: [name] }, now)
  const spki = new X509Certificate(pair.cert).publicKey.export({ type: 'spki', format: 'der' })
  return { ...pair, ca: authority.cert, pin: createHash('sha256').update(spki).digest('base64') }
}
