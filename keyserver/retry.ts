import type { Envelope, Lease, Recipient } from './store.ts'

/** Which attempt is asking: the gateway's name in its certificate, and its instance, random per start. */
export type Attempt = { readonly gateway: string; readonly instance: string }

/** How long retry keys are remembered: longer than mail clients go on trying. */
export const RETRY_MEMORY = 5 * 86_400_000
/** How long a confirmed delivery keeps others away where it does not say so itself. */
export const LEASE = 60_000
/** How long an envelope may wait for its confirmation. */
export const CONFIRM_WITHIN = 10 * 60_000

/**
 * What an issue finds for one recipient. `new`: nothing that counts; `done`: nothing is left to do; `busy`: somebody is at it;
 * `held`: a gateway keeps it, as it was told; `again`: the same envelope once more; `revoked`: the sender or an officer has taken it back, so no other may take its place.
 */
export type RetryVerdict =
  | { readonly kind: 'new' }
  | { readonly kind: 'revoked' }
  | { readonly kind: 'busy' }
  | { readonly kind: 'done'; readonly state: 'sent' | 'failed' }
  | { readonly kind: 'held' }
  | { readonly kind: 'again'; readonly state: 'open' | 'unknown' }

/**
 * Decides from what the retry key led to; null where it led to nothing. `letGo`: it was held before it was sealed. `verdict` is what the gateway's policy says today; `leases` the time
 * by which leases end, if it is another than `now`: see {@link file://./clock.ts}.
 */
export function judgeRetry(
  found: { readonly recipient: Recipient; readonly envelope: Envelope; readonly letGo?: boolean } | null,
  verdict: Envelope['kind'],
  attempt: Attempt,
  now: number,
  leases: number = now,
): RetryVerdict {
  if (found === null) return { kind: 'new' }
  const { recipient, envelope, letGo = false } = found
  if (recipient.state === 'sent' || recipient.state === 'failed') return { kind: 'done', state: recipient.state }
  if (isHeld(recipient.lease, attempt, leases)) return { kind: 'busy' }
  if (envelope.revokedAt !== null) return { kind: 'revoked' }
  if (isOver(envelope, now)) return { kind: 'new' }
  // Whatever the rules say today: it was taken, and its sender told that it is held.
  if ((envelope.kind === 'hold' && envelope.confirmedAt !== null) || letGo) return { kind: 'held' }
  if (envelope.kind !== verdict) return { kind: 'new' }
  return { kind: 'again', state: recipient.state }
}

/**
 * Whether a lease still keeps this attempt away. A gateway that has started anew cannot be delivering what its earlier instance was,
 * so its own old leases are void.
 */
export function isHeld(lease: Lease | null, attempt: Attempt, now: number): boolean {
  if (lease === null || lease.until <= now) return false
  return lease.gateway !== attempt.gateway || lease.instance === attempt.instance
}

/** Expired, shredded, or never confirmed in time. */
export function isOver(envelope: Envelope, now: number): boolean {
  if (envelope.shreddedAt !== null) return true
  if (envelope.expiresAt !== null && envelope.expiresAt <= now) return true
  return envelope.confirmedAt === null && envelope.confirmBy <= now
}
