import type { OrgId } from '../protocol/identifiers.ts'
import type { Policy } from '../rulebook/index.ts'
import type { Capabilities } from './courier.ts'

/** What of a client's mail can really be delivered. */
export type Offer = {
  /** The largest message, octets (RFC 1870). */
  readonly size: number
  readonly smtpUtf8: boolean
  readonly eightBit: boolean
  /** REQUIRETLS can be carried on (RFC 8689); null while the next hop was not reached yet. */
  readonly requireTls: boolean | null
}

export type Offers = {
  of(org: OrgId): Offer
  /** Before it is known for whom a client sends: what can be delivered for at least one organization. */
  any(): Offer
}

export type OffersParts = {
  readonly organizations: ReadonlyMap<OrgId, { readonly courier: { capabilities(): Capabilities | null } }>
  readonly policyOf: (org: OrgId) => Pick<Policy, 'default' | 'outbound'> | null
  /** What we take ourselves, octets. */
  readonly sizeLimit: number
}

/** What a pass adds: a Received field, a stamp, a signature. */
const ADDED = 8192

/**
 * From what the next hops said when they were last greeted; until then what we can do ourselves. A sealed mail is 7-bit, and one that would be
 * too large for the next hop goes without its envelope, so that only mail that is passed on is bound by the next hop's SIZE and 8BITMIME: they
 * count where the policy seals nothing.
 */
export function createOffers({ organizations, policyOf, sizeLimit }: OffersParts): Offers {
  function of(org: OrgId): Offer {
    const hop = organizations.get(org)?.courier.capabilities() ?? null
    const policy = policyOf(org)
    const seals =
      policy === null ||
      policy.default === 'seal' ||
      policy.outbound.some((rule) => rule.verdict === 'seal' && !rule.observe)
    const room = seals || hop?.size == null ? sizeLimit : Math.max(1, hop.size - ADDED)
    return {
      size: Math.min(sizeLimit, room),
      smtpUtf8: hop?.smtputf8 !== false,
      eightBit: seals || hop?.eightBitMime !== false,
      requireTls: hop === null ? null : hop.requireTls === true,
    }
  }
  return {
    of,
    any() {
      const all = [...organizations.keys()].map(of)
      return {
        size: Math.max(...all.map((offer) => offer.size)),
        smtpUtf8: all.some((offer) => offer.smtpUtf8),
        eightBit: all.some((offer) => offer.eightBit),
        requireTls: all.some((offer) => offer.requireTls === true),
      }
    },
  }
}
