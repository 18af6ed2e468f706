import { createHash, type X509Certificate } from 'node:crypto'
import type { Tlsa } from './resolver.ts'

/**
 * DANE for SMTP (RFC 7672): whether what a server shows in TLS is what its TLSA records announce. Node's TLS cannot judge by TLSA; this can, with the
 * certificate functions of node:crypto. Only records whose DNS answer was validated may come here.
 */

/** DANE-TA and DANE-EE; the others are not for SMTP (RFC 7672 3.1.3). */
const AUTHORITY = 2
const END_ENTITY = 3
/** Certificates in a chain. */
const CHAIN = 10

/** The records that can be judged by: the others count as if they were not there (RFC 7672 2.2). */
export function usableTlsa(records: readonly Tlsa[]): readonly Tlsa[] {
  return records.filter(({ usage, selector, matchingType, data }) => {
    const length = [null, 32, 64][matchingType]
    const whole = length === null ? data.length > 0 : data.length === length
    return (usage === AUTHORITY || usage === END_ENTITY) && (selector === 0 || selector === 1) && whole
  })
}

/**
 * Null if a record matches, else what is wrong. `leaf` leads to its issuers by `issuerCertificate`. `names`: those that the certificate may
 * be for, which count with DANE-TA only, as do dates (RFC 7672 3.1.1, 3.1.2).
 */
export function daneFault(
  leaf: X509Certificate,
  records: readonly Tlsa[],
  names: readonly string[],
  now: Date,
): string | null {
  if (records.some((record) => record.usage === END_ENTITY && matches(record, leaf))) return null
  const authorities = records.filter(({ usage }) => usage === AUTHORITY)
  if (authorities.length === 0) return 'no TLSA record is for its certificate'
  const chain = chainOf(leaf, now)
  const anchor = chain.some((one, index) => index > 0 && authorities.some((record) => matches(record, one)))
  if (!anchor) return 'no TLSA record is for an authority of its certificate'
  const named = names.some((name) => leaf.checkHost(name, { subject: 'never' }) !== undefined)
  return named ? null : `its certificate is not for ${names[0] ?? 'it'}`
}

/** The leaf, and above it each certificate that has verifiably issued the one before; all of them good today. */
function chainOf(leaf: X509Certificate, now: Date): readonly X509Certificate[] {
  const chain: X509Certificate[] = []
  for (let one: X509Certificate | null = leaf; one !== null && chain.length < CHAIN; one = issuerOf(one)) {
    if (now < new Date(one.validFrom) || now > new Date(one.validTo)) break
    chain.push(one)
  }
  return chain
}

function issuerOf(one: X509Certificate): X509Certificate | null {
  const issuer = one.issuerCertificate
  if (issuer === undefined || issuer.fingerprint256 === one.fingerprint256) return null
  return issuer.ca && one.checkIssued(issuer) && one.verify(issuer.publicKey) ? issuer : null
}

function matches({ selector, matchingType, data }: Tlsa, certificate: X509Certificate): boolean {
  const whole = selector === 0 ? certificate.raw : certificate.publicKey.export({ type: 'spki', format: 'der' })
  const hash = [null, 'sha256', 'sha512'][matchingType]
  if (hash === undefined) return false
  return (hash === null ? whole : createHash(hash).update(whole).digest()).equals(data)
}
