import type { Terms } from '../protocol/gateway-api.ts'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { Envelope, Reads } from './store.ts'

/** An envelope that was sealed and confirmed, or confirmed as held: what it needs for that is there. */
export type SealedEnvelope = Envelope & {
  readonly terms: Terms
  readonly termsHash: string
  readonly expiresAt: number
  readonly bucket: string
  readonly confirmedAt: number
}

/** What a person is to an envelope. */
export type Standing = { readonly envelope: SealedEnvelope; readonly role: 'recipient' | 'sender' }

export type Life =
  | { readonly kind: 'living' }
  | { readonly kind: 'revoked'; readonly at: number }
  | { readonly kind: 'expired'; readonly at: number }
  /** Not sent yet: an officer has to let it go. `at`: since when. */
  | { readonly kind: 'held'; readonly at: number }

/**
 * What this address is to this envelope, or null for a stranger: unknown, unconfirmed, another organization's and somebody else's
 * envelope all look the same. `org` is null where the person has proven nothing yet. The same rows are asked for whatever comes out.
 */
export async function standingOf(
  reads: Pick<Reads, 'envelopes'>,
  id: EnvelopeId,
  address: Address,
  org: OrgId | null,
): Promise<Standing | null> {
  const envelope = await reads.envelopes.find(id)
  const recipient = await reads.envelopes.recipient(id, address)
  const sealed = envelope === null ? null : asSealed(envelope)
  if (sealed === null || (org !== null && sealed.org !== org)) return null
  if (recipient !== null) return { envelope: sealed, role: 'recipient' }
  return sealed.sender === address ? { envelope: sealed, role: 'sender' } : null
}

/** Whether the envelope lives at `now`; a revocation comes before an expiry, and what was shredded early counts as expired. */
export function lifeOf(envelope: SealedEnvelope, now: number): Life {
  if (envelope.revokedAt !== null) return { kind: 'revoked', at: envelope.revokedAt }
  if (envelope.expiresAt <= now) return { kind: 'expired', at: envelope.expiresAt }
  if (envelope.shreddedAt !== null) return { kind: 'expired', at: envelope.shreddedAt }
  return envelope.kind === 'hold' ? { kind: 'held', at: envelope.confirmedAt } : { kind: 'living' }
}

function asSealed(envelope: Envelope): SealedEnvelope | null {
  const { terms, termsHash, expiresAt, bucket, confirmedAt } = envelope
  if (terms === null || termsHash === null || expiresAt === null || bucket === null || confirmedAt === null) return null
  return envelope.kind === 'seal' || envelope.kind === 'hold'
    ? { ...envelope, terms, termsHash, expiresAt, bucket, confirmedAt }
    : null
}
