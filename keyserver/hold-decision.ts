import type { HeldDecisionRequest, LetGo, Returned } from '../protocol/hold-api.ts'
import type { EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import { byOfficer, type Client } from './client.ts'
import { trustedTime } from './door.ts'
import { KeyServerError } from './error.ts'
import { nobody } from './journal.ts'
import { type Bucket, openSecret, sealSecret } from './keyring.ts'
import type { Parts } from './parts.ts'
import { type Refused, refused } from './refused.ts'
import type { Envelope, Hold, Tx } from './store.ts'

/** An officer who decides, and the request by which that is done. */
export type Deciding = { readonly officer: Client; readonly requestId: string }

type Living = Envelope & {
  readonly terms: NonNullable<Envelope['terms']>
  readonly bucket: string
  readonly sealedSecret: Uint8Array
}
type Found = Refused | { readonly kind: 'held'; readonly envelope: Living }

/**
 * An officer lets a held envelope go: from now on its time to live runs, and its gateway may deliver it. The secret moves under the bucket of
 * its new last day, so that it dies with the others of that day.
 */
export async function letGo(parts: Parts, deciding: Deciding, request: HeldDecisionRequest): Promise<LetGo> {
  const { store, keyring, journal, clock } = parts
  const { org, id } = request
  // Where the secret lies, or shall lie, may be changed by a rekeying between here and the transaction: then once more.
  for (let tries = 0; tries < 4; tries++) {
    const now = trustedTime(clock)
    const seen = await store.read((reads) => reads.envelopes.find(id))
    const ttl = seen?.org === org ? (seen.terms?.ttlSeconds ?? null) : null
    const expiresAt = ttl === null ? null : now + ttl * 1000
    const old = seen === null || seen.bucket === null ? null : await keyring.bucket(seen.org, seen.bucket)
    const fresh = expiresAt === null ? null : await keyring.currentBucket(org, expiresAt)
    const done = await store.transact(async (tx) => {
      const found = await findHeld(tx, org, id, now)
      if (found.kind === 'refused') return refuse(parts, tx, deciding, request, 'release', found)
      if (expiresAt === null || old === null || fresh === null || found.envelope.bucket !== old.id) return 'moved'
      if (keyring.isRetired(org, fresh.id)) return 'moved'
      await tx.holds.decide(id, 'let-go', { at: now, officer: deciding.officer.name, reason: request.reason })
      await tx.holds.letGo(id, expiresAt, fresh.id, moved(found.envelope, old, fresh))
      await tx.changes.add(id, 'let-go', now)
      const head = { time: new Date(now).toISOString(), request: deciding.requestId, envelope: id }
      journal.append(tx, org, nobody, () => ({
        ...{ ...head, kind: 'let-go', by: byOfficer(deciding.officer), reason: request.reason.toWellFormed() },
        expiresAt: new Date(expiresAt).toISOString(),
      }))
      return { kind: 'done' } as const
    })
    if (done === 'moved') continue
    if (done.kind === 'refused') throw new KeyServerError(done.code, { detail: done.detail })
    parts.metrics.count('sealpost_holds_total', { event: 'let-go' })
    return { id, expiresAt: new Date(expiresAt ?? now).toISOString() }
  }
  throw new KeyServerError('unavailable', { detail: 'Keys are being changed just now. Try again.' })
}

/** The secret as it lies under another bucket. Pure. */
function moved({ org, id, sealedSecret }: Living, old: Bucket, fresh: Bucket): Uint8Array {
  const context = { org, envelope: id }
  const secret = openSecret(old.key, sealedSecret, { ...context, bucket: old.id })
  if (secret === null) throw new Error(`the secret of envelope ${id} does not open under bucket ${old.id}`)
  return sealSecret(fresh.key, secret, { ...context, bucket: fresh.id })
}

/** An officer sends a held envelope back: nobody will ever open it, and its gateway tells the sender. */
export async function sendBack(parts: Parts, deciding: Deciding, request: HeldDecisionRequest): Promise<Returned> {
  const { org, id, reason } = request
  const now = parts.clock.now()
  const done = await parts.store.transact(async (tx) => {
    const found = await findHeld(tx, org, id, now)
    if (found.kind === 'refused') return refuse(parts, tx, deciding, request, 'return', found)
    await tx.holds.decide(id, 'returned', { at: now, officer: deciding.officer.name, reason })
    await endHeld(parts, tx, found.envelope, { now, requestId: deciding.requestId, officer: deciding.officer, reason })
    return found
  }, 'urgent')
  if (done.kind === 'refused') throw new KeyServerError(done.code, { detail: done.detail })
  parts.metrics.count('sealpost_holds_total', { event: 'returned' })
  return { id, returnedAt: new Date(now).toISOString() }
}

/** Nobody decided in time. Within the transaction that destroys the secret. */
export async function endUndecided(parts: Parts, tx: Tx, envelope: Envelope, now: number): Promise<void> {
  const hold = await tx.holds.find(envelope.id)
  if (hold?.state !== 'held') return
  const reason = 'nobody decided in time'
  await tx.holds.decide(envelope.id, 'returned', { at: now, officer: null, reason })
  await endHeld(parts, tx, envelope, { now, requestId: null, officer: null, reason })
  parts.metrics.count('sealpost_holds_total', { event: 'returned' })
}

type End = {
  readonly now: number
  readonly requestId: string | null
  readonly officer: Client | null
  readonly reason: string
}

async function endHeld({ journal }: Parts, tx: Tx, { id, org }: Envelope, end: End): Promise<void> {
  const { now, requestId, officer, reason } = end
  // A client that tries again is told that it was refused; no second envelope is made of it.
  for (const { address } of await tx.envelopes.recipients(id)) {
    await tx.envelopes.setRecipient(id, address, 'failed', null)
  }
  await tx.envelopes.withdraw(id, now)
  await tx.changes.add(id, 'returned', now)
  const by = officer === null ? ({ role: 'server', person: null, name: null } as const) : byOfficer(officer)
  journal.append(tx, org, nobody, () => ({
    ...{ kind: 'returned', time: new Date(now).toISOString(), request: requestId, envelope: id },
    ...{ by, reason: reason.toWellFormed() },
  }))
}

async function findHeld(tx: Tx, org: OrgId, id: EnvelopeId, now: number): Promise<Found> {
  const envelope = await tx.envelopes.find(id)
  const hold = envelope?.org === org ? await tx.holds.find(id) : null
  if (envelope === null || hold === null)
    return refused('not-found', 'There is no such mail among those that were held.')
  const { terms, bucket, sealedSecret } = envelope
  if (envelope.revokedAt !== null) return refused('revoked', 'The message was revoked.')
  if (hold.state !== 'held') return refused('conflict', decidedWords(hold))
  if (hold.until <= now || terms === null || bucket === null || sealedSecret === null) {
    return refused('expired', 'The time to decide is over: it goes back to its sender.')
  }
  return { kind: 'held', envelope: { ...envelope, terms, bucket, sealedSecret } }
}

function decidedWords({ state, decided }: Hold): string {
  const done = state === 'let-go' ? 'let go' : 'sent back'
  const who = decided?.officer == null ? '' : ` by ${decided.officer}`
  return `It was ${done}${who}${decided === null ? '' : ` on ${new Date(decided.at).toISOString()}`}.`
}

function refuse(
  { journal, clock }: Parts,
  tx: Tx,
  { officer, requestId }: Deciding,
  { org, id }: HeldDecisionRequest,
  asked: 'release' | 'return',
  because: Refused,
): Refused {
  const time = new Date(clock.now()).toISOString()
  journal.append(tx, org, nobody, () => ({
    ...{ kind: 'hold-refused', time, request: requestId, envelope: id },
    ...{ by: byOfficer(officer), asked, reason: because.code },
  }))
  return because
}
