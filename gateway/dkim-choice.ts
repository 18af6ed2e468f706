import { domainOf } from '../protocol/identifiers.ts'
import { parseAddressList } from './address-list.ts'
import type { DkimKey } from './dkim-key.ts'
import { fieldsOf, type Header } from './header.ts'

/**
 * The keys that sign a mail with this header: those of the nearest domain at or above From's, so that the signature is aligned for DMARC
 * (RFC 7489 3.1.1). None where From is not one field whose addresses all lie in one of the organization's own domains, or where a
 * signature of that domain is there already. Pure.
 */
export function keysFor(header: Header, keys: readonly DkimKey[], own: readonly string[]): readonly DkimKey[] {
  const domain = authorDomain(header)
  if (domain === null || !own.includes(domain)) return []
  const above = keys.filter((key) => domain === key.domain || domain.endsWith(`.${key.domain}`))
  const nearest = above.reduce((best, key) => (key.domain.length > best.length ? key.domain : best), '')
  const signed = fieldsOf(header, 'dkim-signature').some((field) => signingDomain(field.value) === nearest)
  return signed ? [] : above.filter((key) => key.domain === nearest)
}

/** The one domain of all addresses in the one From field. */
function authorDomain(header: Header): string | null {
  const [from, second] = fieldsOf(header, 'from')
  if (from === undefined || second !== undefined) return null
  const domains = new Set((parseAddressList(from.value) ?? []).map(domainOf))
  const [domain] = domains
  return domain !== undefined && domains.size === 1 ? domain : null
}

/** d= of a signature. */
function signingDomain(value: string): string | null {
  return /(?:^|;)\s*d\s*=\s*([^;\s]+)\s*(?:;|$)/i.exec(value)?.[1]?.toLowerCase() ?? null
}
