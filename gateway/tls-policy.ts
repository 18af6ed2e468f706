import { createHash } from 'node:crypto'
import { isIP, type Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { daneFault } from './dane.ts'
import type { Tlsa } from './resolver.ts'

/** What we show a next hop that asks who we are: certificate with its chain, and key, PEM. */
export type OwnCertificate = { readonly cert: string; readonly key: string }

/**
 * What is asked of the next hop's TLS. `verify`: a certificate of a trusted authority for the next hop's name. `pin`: one whose public key
 * (SHA-256 of its SubjectPublicKeyInfo, base64) is listed, whoever issued it. `opportunistic`: TLS if offered, nothing checked.
 * `dane`: one that its TLSA records announce, for one of `names` where they name an authority (RFC 7672). `encrypt`: TLS is a must, nothing
 * checked. `none`: clear. `opportunistic`, `encrypt` and `none` let whoever holds the wire read the envelope's addresses; they are used only where written,
 * and towards recipients' hosts that announce no more.
 */
export type TlsPolicy =
  | ({ readonly mode: 'verify'; readonly name?: string; readonly ca?: readonly string[] } & Shown)
  | ({ readonly mode: 'pin'; readonly spki: readonly string[]; readonly name?: string } & Shown)
  | ({
      readonly mode: 'dane'
      readonly records: readonly Tlsa[]
      readonly names: readonly [string, ...string[]]
    } & Shown)
  | ({ readonly mode: 'encrypt' } & Shown)
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

/** Whether whoever answers under this policy is proven to be the next hop. */
export function isVerifying({ mode }: TlsPolicy): boolean {
  return mode === 'verify' || mode === 'pin' || mode === 'dane'
}

/**
 * TLS over a connected socket, judged by the policy. Rejects with an Error whose message says what was wrong; the socket is destroyed then.
 */
export function startTls(socket: Socket, host: string, policy: TlsPolicy, timeoutMs: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const name = nameOf(policy) ?? host
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
      const fault = faultOf(secure, policy)
      if (fault !== null) {
        fail(new Error(fault))
        return
      }
      clearTimeout(timer)
      secure.removeAllListeners('error').removeAllListeners('close')
      resolve(secure)
    })
  })
}

/** Whom the next hop is asked to be; null: whom we connect to. */
function nameOf(policy: TlsPolicy): string | null {
  if (policy.mode === 'dane') return policy.names[0]
  return 'name' in policy && policy.name !== undefined ? policy.name : null
}

/** What is wrong with a certificate that Node did not look at, or null. */
function faultOf(secure: TLSSocket, policy: TlsPolicy): string | null {
  if (policy.mode === 'pin') {
    return isPinned(secure, policy.spki) ? null : 'the public key of the next hop is not the pinned one'
  }
  if (policy.mode !== 'dane') return null
  const certificate = secure.getPeerX509Certificate()
  const fault =
    certificate === undefined
      ? 'it shows no certificate'
      : daneFault(certificate, policy.records, policy.names, new Date())
  return fault === null ? null : `the next hop fails DANE: ${fault}`
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
