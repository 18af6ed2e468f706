import type { Kysely } from 'kysely'
import type { EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import { type Run, statement } from './statement.ts'
import type { ChangeFeed, Meta, People, PolicyText, PolicyTexts } from './store.ts'
import type { Tables } from './tables.ts'

export function policyStatements(db: Kysely<Tables>): (run: Run) => PolicyTexts {
  const byHash = statement<{ org: string; hash: string }, Tables['policy']>((slot) =>
    db.selectFrom('policy').selectAll().where('org', '=', slot('org')).where('hash', '=', slot('hash')),
  )
  const active = statement<{ org: string }, Tables['policy']>((slot) =>
    db
      .selectFrom('active_policy')
      .innerJoin('policy', (join) =>
        join.onRef('policy.org', '=', 'active_policy.org').onRef('policy.hash', '=', 'active_policy.hash'),
      )
      .selectAll('policy')
      .where('active_policy.org', '=', slot('org')),
  )
  const keep = statement<PolicyText, unknown>((slot) =>
    db
      .insertInto('policy')
      .values({ org: slot('org'), hash: slot('hash'), text: slot('text'), activated_at: slot('activatedAt') })
      .onConflict((conflict) => conflict.columns(['org', 'hash']).doUpdateSet({ activated_at: slot('activatedAt') })),
  )
  const point = statement<PolicyText, unknown>((slot) =>
    db
      .insertInto('active_policy')
      .values({ org: slot('org'), hash: slot('hash') })
      .onConflict((conflict) => conflict.column('org').doUpdateSet({ hash: slot('hash') })),
  )
  return (run) => ({
    active: async (org) => toPolicy(await active(run, { org })),
    byHash: async (org, hash) => toPolicy(await byHash(run, { org, hash })),
    activate: async (policy) => {
      await keep(run, policy)
      await point(run, policy)
    },
  })
}

export function changeStatements(db: Kysely<Tables>): (run: Run) => ChangeFeed {
  const after = statement<{ gateway: string; cursor: number; limit: number }, Tables['change'] & { cursor: number }>(
    (slot) =>
      db
        .selectFrom('change')
        .selectAll()
        .where('gateway', '=', slot('gateway'))
        .where('cursor', '>', slot('cursor'))
        .orderBy('cursor')
        .limit(slot('limit')) as never,
  )
  const add = statement<{ id: string; kind: Tables['change']['kind']; at: number }, unknown>((slot) =>
    db
      .insertInto('change')
      .columns(['gateway', 'envelope', 'kind', 'at'])
      .expression((eb) =>
        eb
          .selectFrom('copy')
          .innerJoin('envelope', 'envelope.seq', 'copy.envelope')
          .select([
            'copy.gateway',
            'envelope.id',
            (sub) => sub.val(slot('kind')).as('kind'),
            (sub) => sub.val(slot('at')).as('at'),
          ])
          .where('envelope.id', '=', slot('id'))
          .distinct(),
      ),
  )
  // SQLite counts on from the largest key that ever was, whether its row is still there or not.
  const mark = statement<{ cursor: number }, unknown>((slot) =>
    db
      .insertInto('change')
      .values({ cursor: slot('cursor'), gateway: '', envelope: '', kind: 'revoked', at: 0 } as never)
      .onConflict((conflict) => conflict.doNothing()),
  )
  const unmark = statement<object, unknown>(() => db.deleteFrom('change').where('gateway', '=', ''))
  return (run) => ({
    after: async (gateway, cursor, limit) =>
      (await after(run, { gateway, cursor, limit })).map((row) => ({
        cursor: row.cursor,
        id: row.envelope as EnvelopeId,
        kind: row.kind,
      })),
    add: async (id, kind, at) => void (await add(run, { id, kind, at })),
    beginAfter: async (cursor) => {
      await mark(run, { cursor })
      await unmark(run, {})
    },
  })
}

export function peopleStatements(db: Kysely<Tables>): (run: Run) => People {
  type Key = { org: string; address: string }
  const find = statement<Key, { pseudonym: string }>((slot) =>
    db.selectFrom('person').select('pseudonym').where('org', '=', slot('org')).where('address', '=', slot('address')),
  )
  const set = statement<Key & { pseudonym: string }, unknown>((slot) =>
    db
      .insertInto('person')
      .values({ org: slot('org'), address: slot('address'), pseudonym: slot('pseudonym') })
      .onConflict((conflict) => conflict.columns(['org', 'address']).doUpdateSet({ pseudonym: slot('pseudonym') })),
  )
  return (run) => ({
    find: async (org, address) => (await find(run, { org, address }))[0]?.pseudonym ?? null,
    set: async (org, address, pseudonym) => void (await set(run, { org, address, pseudonym })),
  })
}

export function metaStatements(db: Kysely<Tables>): (run: Run) => Meta {
  const get = statement<{ name: string }, { value: string }>((slot) =>
    db.selectFrom('meta').select('value').where('name', '=', slot('name')),
  )
  const set = statement<{ name: string; value: string }, unknown>((slot) =>
    db
      .insertInto('meta')
      .values({ name: slot('name'), value: slot('value') })
      .onConflict((conflict) => conflict.column('name').doUpdateSet({ value: slot('value') })),
  )
  return (run) => ({
    get: async (name) => (await get(run, { name }))[0]?.value ?? null,
    set: async (name, value) => void (await set(run, { name, value })),
  })
}

function toPolicy([row]: readonly Tables['policy'][]): PolicyText | null {
  if (row === undefined) return null
  return { org: row.org as OrgId, hash: row.hash, text: row.text, activatedAt: row.activated_at }
}
