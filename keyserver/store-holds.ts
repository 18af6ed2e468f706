import { type Kysely, sql } from 'kysely'
import type { EnvelopeId } from '../protocol/identifiers.ts'
import { type Run, statement } from './statement.ts'
import type { Hold, Holds } from './store.ts'
import type { Tables } from './tables.ts'

type Id = { id: string }
type HoldRow = Omit<Tables['hold'], 'envelope'> & Id

/** Gives what is held on whatever connection or transaction is run. */
export function holdStatements(db: Kysely<Tables>): (run: Run) => Holds {
  const s = { ...readStatements(db), ...writeStatements(db) }
  return (run) => ({
    find: async (id) => (await s.find(run, { id })).map(toHold)[0] ?? null,
    waiting: async (org, now, skip, limit) => (await s.waiting(run, { org, now, skip, limit })).map(toHold),
    add: async (id, at, until, recipients) => {
      await s.add(run, { id, at, until })
      const kept = new Set<string>(recipients)
      for (const { address } of await s.retried(run, { id })) {
        if (!kept.has(address)) await s.forget(run, { id, address })
      }
    },
    decide: async (id, state, { at, officer, reason }) =>
      void (await s.decide(run, { id, state, at, officer, reason })),
    letGo: async (id, expiresAt, bucket, sealed) => {
      await s.letGo(run, { id, expiresAt, bucket })
      await s.reseal(run, { id, sealed })
    },
  })
}

function readStatements(db: Kysely<Tables>) {
  const hold = db
    .selectFrom('hold')
    .innerJoin('envelope', 'envelope.seq', 'hold.envelope')
    .select(['envelope.id', 'state', 'at', 'until', 'decided_at', 'officer', 'reason'])
  return {
    find: statement<Id, HoldRow>((slot) => hold.where('envelope.id', '=', slot('id'))),
    waiting: statement<{ org: string; now: number; skip: number; limit: number }, HoldRow>((slot) =>
      hold
        // Written out, for the partial index.
        .where('state', '=', sql.lit('held'))
        .where('envelope.org', '=', slot('org'))
        .where('until', '>', slot('now'))
        .where('revoked_at', 'is', null)
        .orderBy('at')
        .orderBy('hold.envelope')
        .limit(slot('limit'))
        .offset(slot('skip')),
    ),
    retried: statement<Id, { address: string }>((slot) =>
      db
        .selectFrom('recipient')
        .select('address')
        .where('envelope', '=', seqOf(db, slot('id'))),
    ),
  }
}

function writeStatements(db: Kysely<Tables>) {
  return {
    add: statement<Id & { at: number; until: number }, unknown>((slot) =>
      db
        .insertInto('hold')
        .values({ envelope: seqOf(db, slot('id')), state: 'held', at: slot('at'), until: slot('until') }),
    ),
    forget: statement<Id & { address: string }, unknown>((slot) =>
      db
        .deleteFrom('retry')
        .where('envelope', '=', seqOf(db, slot('id')))
        .where('address', '=', slot('address')),
    ),
    decide: statement<Id & { state: Hold['state']; at: number; officer: string | null; reason: string }, unknown>(
      (slot) =>
        db
          .updateTable('hold')
          .set({ state: slot('state'), decided_at: slot('at'), officer: slot('officer'), reason: slot('reason') })
          .where('envelope', '=', seqOf(db, slot('id')))
          .where('state', '=', 'held'),
    ),
    letGo: statement<Id & { expiresAt: number; bucket: string }, unknown>((slot) =>
      db
        .updateTable('envelope')
        .set({ kind: 'seal', expires_at: slot('expiresAt'), due_at: slot('expiresAt'), bucket: slot('bucket') })
        .where('id', '=', slot('id'))
        .where('kind', '=', 'hold')
        .where('due_at', 'is not', null),
    ),
    reseal: statement<Id & { sealed: Uint8Array }, unknown>((slot) =>
      db
        .updateTable('secret')
        .set({ sealed: slot('sealed') })
        .where('envelope', '=', seqOf(db, slot('id'))),
    ),
  }
}

/** The running number of the envelope with this id. */
function seqOf(db: Kysely<Tables>, id: string) {
  return db.selectFrom('envelope').select('seq').where('id', '=', id)
}

// What comes out of these tables was checked when it went in, so the brand may be put on again.
function toHold({ id, state, at, until, decided_at: decidedAt, officer, reason }: HoldRow): Hold {
  const decided = decidedAt === null ? null : { at: decidedAt, officer, reason: reason ?? '' }
  return { envelope: id as EnvelopeId, state, at, until, decided }
}
