import { createHash } from 'node:crypto'
import { isIP, type Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'

/** What we show a next hop that asks who we are: certificate with its chain, and key, PEM. */
export type OwnCertificate = { readonly cert: string; readonly key: string }

/**
 * What is asked of the next hop's TLS. `verify`: a certificate of a trusted authority for the next hop's name. `pin`: one whose public key
 * (SHA-256 of its SubjectPublicKeyInfo, base64) is listed, whoever issued it. `opportunistic`: TLS if offered, nothing checked.
 * `none`: clear. The last two let whoever holds the wire read the envelope's addresses; they are used only where written.
 */
export type TlsPolicy =
  | ({ readonly mode: 'verify'; readonly name?: string; readonly ca?: readonly string[] } & Shown)
  | ({ readonly mode: 'pin'; readonly spki: readonly string[]; readonly name?: string } & Shown)
  | ({ readonly mode: 'opportunistic' } & Shown)
  | { readonly mode: 'none' }

type Shown = { readonly own?: OwnCertificate }

/** The policy where none is written: verified TLS, except on loopback, where TLS is used if offered. */
export function defaultTlsPolicy(host: string): TlsPolicy {
  return isLoopback(host) ? { mode: 'opportunistic' } : { mode: 'verify' }
}

/** Whether the mail may leave without TLS under this policy. */
export function mayBeClear(policy: TlsPolicy): boolean {
  return policy.mode === 'opportunistic' || policy.mode === 'none'
}

/**
 * TLS over a connected socket, judged by the policy. Rejects with an Error whose message says what was wrong; the socket is destroyed then.
 */
export function startTls(socket: Socket, host: string, policy: TlsPolicy, timeoutMs: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const name = 'name' in policy && policy.name !== undefined ? policy.name : host
    const secure = connect({
      socket,
      host: name,
      ...(isIP(name) === 0 ? { servername: name } : {}),
      ...(policy.mode === 'verify' && policy.ca !== undefined ? { ca: [...policy.ca] } : {}),
      ...('own' in policy ? policy.own : {}),
      rejectUnauthorized: policy.mode === 'verify',
      minVersion: 'TLSv1.2',
    })
    const timer = setTimeout(() => fail(new Error('the TLS handshake took too long')), timeoutMs)
    const fail = (error: Error) => {
      clearTimeout(timer)
      secure.destroy()
      reject(error)
    }
    secure.once('error', fail)
    secure.once('close', () => fail(new Error('the next hop closed the connection during the TLS handshake')))
    secure.once('secureConnect', () => {
      if (policy.mode === 'pin' && !isPinned(secure, policy.spki)) {
        fail(new Error('the public key of the next hop is not the pinned one'))
        return
      }
      clearTimeout(timer)
      secure.removeAllListeners('error').removeAllListeners('close')
      resolve(secure)
    })
  })
}

function isPinned(secure: TLSSocket, pins: readonly string[]): boolean {
  const certificate = secure.getPeerX509Certificate()
  if (certificate === undefined) return false
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
  const digest = createHash('sha256').update(spki).digest()
  return pins.some((pin) => digest.equals(Buffer.from(pin.replace(/^sha256[:/]+/i, ''), 'base64')))
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}
