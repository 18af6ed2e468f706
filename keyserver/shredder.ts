import type { FastifyBaseLogger } from 'fastify'
import type { AuditRecord } from '../audit/kinds.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { endUndecided } from './hold-decision.ts'
import { nobody } from './journal.ts'
import { openSecret, sealSecret } from './keyring.ts'
import type { Parts } from './parts.ts'
import type { Envelope, Tx } from './store.ts'

export interface Shredder {
  /** One round: destroys what is due, then rekeys and destroys buckets. Does nothing while the clock is not trusted. */
  run(): Promise<void>
}

/** Envelopes in one transaction. */
const BATCH = 200
const DAY = 86_400_000

/**
 * Destroys what has expired (what was held till then goes back to its sender), was revoked or withdrawn, or died unconfirmed; refusing such envelopes is the release's own affair, and needs no shredder.
 * Revoked secrets are final when their bucket has been rekeyed, once a day; expired ones when their day's key goes, `graceDays` after its end.
 */
export function createShredder(parts: Parts): Shredder {
  const log: FastifyBaseLogger = parts.log
  return {
    run: async () => {
      const state = parts.clock.state()
      if (state.kind !== 'good') {
        log.warn({ because: state.because }, 'nothing is shredded until an officer accepts the clock')
        return
      }
      let shredded = 0
      for (;;) {
        const some = await shredSome(parts)
        shredded += some
        if (some < BATCH) break
      }
      await rekeyDaily(parts)
      if (shredded > 0) {
        parts.metrics.count('sealpost_shredded_total', {}, shredded)
        if (!(await parts.store.scrub()))
          log.warn('the database journal is being read by somebody: it is scrubbed in the next round')
      }
      await destroyOldBuckets(parts)
    },
  }
}

async function shredSome(parts: Parts): Promise<number> {
  const { store, clock, journal } = parts
  return await store.transact(async (tx) => {
    const now = clock.now()
    const doomed = await tx.envelopes.doomed(now, BATCH)
    for (const envelope of doomed) {
      const cause = causeOf(envelope, now)
      if (envelope.kind === 'hold' && cause === 'expired') await endUndecided(parts, tx, envelope, now)
      const head = { time: new Date(now).toISOString(), request: null, envelope: envelope.id } as const
      const first: AuditRecord | null =
        cause === 'expired'
          ? { ...head, kind: 'expired' }
          : cause === 'withdrawn'
            ? {
                ...head,
                kind: 'withdrawn',
                reason: envelope.confirmedAt === null ? 'never confirmed' : 'never delivered',
              }
            : null
      if (first !== null) journal.append(tx, envelope.org, nobody, () => first)
      journal.append(tx, envelope.org, nobody, () => ({ ...head, kind: 'shredded', cause }))
      await tx.envelopes.shred(envelope.id, now)
      await tx.changes.add(envelope.id, 'shredded', now)
    }
    return doomed.length
  }, 'upkeep')
}

function causeOf(envelope: Envelope, now: number): 'revoked' | 'withdrawn' | 'expired' {
  if (envelope.revokedAt !== null) return 'revoked'
  return envelope.expiresAt !== null && envelope.expiresAt <= now ? 'expired' : 'withdrawn'
}

async function rekeyDaily(parts: Parts): Promise<void> {
  const { store, clock } = parts
  const today = new Date(clock.now()).toISOString().slice(0, 10)
  if ((await store.read((reads) => reads.meta.get('rekeyed'))) === today) return
  const stirred = await store.transact((tx) => tx.envelopes.stirred(), 'upkeep')
  for (const { org, bucket } of stirred) await rekey(parts, org, bucket)
  await store.transact((tx) => tx.meta.set('rekeyed', today), 'upkeep')
}

/**
 * Makes early shreds in a bucket final: the living are resealed under a fresh key, then the old key is destroyed. The fresh bucket is on
 * disk, and the old one retired, before the first is resealed; whatever breaks between leaves every row under a key that is there.
 */
export async function rekey(parts: Parts, org: OrgId, bucket: string): Promise<void> {
  const { keyring, store } = parts
  const old = await keyring.bucket(org, bucket)
  if (old !== null) {
    const fresh = await keyring.freshBucket(org, bucket)
    for (let moved = BATCH; moved === BATCH; ) {
      moved = await store.transact((tx) => resealSome(tx, org, old, fresh), 'upkeep')
    }
  }
  await store.scrub()
  await keyring.destroyBucket(org, bucket)
  await store.transact(async (tx) => {
    await tx.envelopes.settle(org, bucket)
    recordDestroyed(parts, tx, org, bucket, 'rekeyed')
  }, 'upkeep')
}

type Bucket = { readonly id: string; readonly key: Uint8Array }

async function resealSome(tx: Tx, org: OrgId, old: Bucket, fresh: Bucket): Promise<number> {
  const living = await tx.envelopes.inBucket(org, old.id, BATCH)
  for (const { id, sealedSecret } of living) {
    const context = { org, envelope: id }
    const secret = sealedSecret === null ? null : openSecret(old.key, sealedSecret, { ...context, bucket: old.id })
    if (secret === null) throw new Error(`the secret of envelope ${id} does not open under bucket ${old.id}`)
    await tx.envelopes.reseal(id, fresh.id, sealSecret(fresh.key, secret, { ...context, bucket: fresh.id }))
  }
  return living.length
}

async function destroyOldBuckets(parts: Parts): Promise<void> {
  const { keyring, store, clock, config } = parts
  for (const { org, id } of await keyring.buckets()) {
    const end = Date.parse(`${id.slice(0, 10)}T00:00:00Z`) + DAY * (1 + config.graceDays)
    if (end > clock.now()) continue
    const left = await store.transact((tx) => tx.envelopes.inBucket(org, id, 1), 'upkeep')
    if (left.length > 0) continue
    await keyring.destroyBucket(org, id)
    await store.transact(async (tx) => {
      await tx.envelopes.settle(org, id)
      recordDestroyed(parts, tx, org, id, 'expired')
    }, 'upkeep')
  }
}

function recordDestroyed(
  { journal, clock }: Parts,
  tx: Tx,
  org: OrgId,
  bucket: string,
  cause: 'expired' | 'rekeyed',
): void {
  const time = new Date(clock.now()).toISOString()
  journal.append(tx, org, nobody, () => ({ kind: 'bucket-destroyed', time, request: null, bucket, cause }))
}
