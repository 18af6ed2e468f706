import { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'

/** A certificate that a client has shown, and whose key it has proven to hold. */
export type ClientCertificate = {
  /**
   * Whether one of these authorities issued it, itself or by way of what came with it, and it bears one of the names (lower case): a DNS name
   * of its SAN, or where it has none the common name of its subject.
   */
  isIssuedFor(authorities: readonly X509Certificate[], names: readonly string[]): boolean
}

/** Longer chains are not followed. */
const LONGEST = 8

/**
 * What the client of a TLS connection has shown; null if nothing, or nothing that the authorities of the listener vouch for: OpenSSL has looked
 * at dates, signatures and purpose by then. `trusted`: all the authorities of the listener.
 */
export function clientCertificateOf(socket: TLSSocket, trusted: readonly X509Certificate[]): ClientCertificate | null {
  const own = socket.authorized ? socket.getPeerX509Certificate() : undefined
  if (own === undefined) return null
  const chain = [own]
  for (let shown = socket.getPeerCertificate(true); chain.length < LONGEST; shown = shown.issuerCertificate) {
    const next = shown.issuerCertificate as typeof shown | undefined
    if (next === undefined || next === shown || next.raw.equals(shown.raw)) break
    chain.push(new X509Certificate(next.raw))
  }
  const names = namesOf(own)
  // A kept connection asks before each mail; signatures are looked at once.
  const known = new Map<readonly X509Certificate[], boolean>()
  return {
    isIssuedFor(authorities, wanted) {
      if (!names.some((name) => wanted.includes(name))) return false
      const all = trusted.every((one) => authorities.some((other) => one.fingerprint256 === other.fingerprint256))
      // Node does not always tell what came with a client's certificate. It need not where there is but one trust.
      const leads = known.get(authorities) ?? (all || leadsTo(chain, authorities))
      known.set(authorities, leads)
      return leads
    },
  }
}

function leadsTo(chain: readonly X509Certificate[], authorities: readonly X509Certificate[]): boolean {
  let [current] = chain
  for (let depth = 0; current !== undefined && depth < LONGEST; depth++) {
    const at = current
    if (authorities.some((authority) => issued(authority, at))) return true
    current = chain.find((other) => other !== at && other.ca && issued(other, at))
  }
  return false
}

/** By name and key id, which anybody can write, and by signature. */
function issued(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}

function namesOf(certificate: X509Certificate): string[] {
  const names: string[] = []
  // Node quotes an entry that holds a comma or a quote; such an entry is no host name.
  const entry = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)/gy
  for (const [, kind, value = ''] of (certificate.subjectAltName ?? '').matchAll(entry)) {
    if (kind === 'DNS' && !value.startsWith('"')) names.push(value.toLowerCase())
  }
  if (names.length > 0) return names
  const { CN } = certificate.toLegacyObject().subject
  return typeof CN === 'string' ? [CN.toLowerCase()] : []
}
