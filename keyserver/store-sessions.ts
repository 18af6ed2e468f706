import { type Kysely, sql } from 'kysely'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import { type Run, statement } from './statement.ts'
import type { Challenge, Challenges, Counters, Session, Sessions } from './store.ts'
import type { Tables } from './tables.ts'

type Id = { id: string }
type Now = { now: number }

export function challengeStatements(db: Kysely<Tables>): (run: Run) => Challenges {
  const find = statement<Id, Tables['challenge']>((slot) =>
    db.selectFrom('challenge').selectAll().where('id', '=', slot('id')),
  )
  const add = statement<Challenge, unknown>((slot) =>
    db.insertInto('challenge').values({
      id: slot('id'),
      envelope: slot('envelope'),
      org: slot('org'),
      address: slot('address'),
      code_hash: slot('codeHash'),
      thumbprint: slot('thumbprint'),
      tries_left: slot('triesLeft'),
      expires_at: slot('expiresAt'),
    }),
  )
  const spend = statement<Id, { tries_left: number }>((slot) =>
    db
      .updateTable('challenge')
      .set({ tries_left: sql<number>`case when tries_left > 0 then tries_left - 1 else 0 end` })
      .where('id', '=', slot('id'))
      .returning('tries_left'),
  )
  const remove = statement<Id, unknown>((slot) => db.deleteFrom('challenge').where('id', '=', slot('id')))
  const sweep = statement<Now, unknown>((slot) => db.deleteFrom('challenge').where('expires_at', '<=', slot('now')))
  return (run) => ({
    find: async (id) => {
      const [row] = await find(run, { id })
      return row === undefined ? null : toChallenge(row)
    },
    add: async (challenge) => void (await add(run, challenge)),
    spend: async (id) => (await spend(run, { id }))[0]?.tries_left ?? null,
    remove: async (id) => void (await remove(run, { id })),
    sweep: async (now) => void (await sweep(run, { now })),
  })
}

export function sessionStatements(db: Kysely<Tables>): (run: Run) => Sessions {
  const find = statement<Id, Tables['session']>((slot) =>
    db.selectFrom('session').selectAll().where('id', '=', slot('id')),
  )
  const add = statement<Session, unknown>((slot) =>
    db.insertInto('session').values({
      id: slot('id'),
      org: slot('org'),
      address: slot('address'),
      thumbprint: slot('thumbprint'),
      created_at: slot('createdAt'),
      expires_at: slot('expiresAt'),
    }),
  )
  const remove = statement<Id, unknown>((slot) => db.deleteFrom('session').where('id', '=', slot('id')))
  const sweep = statement<Now, unknown>((slot) => db.deleteFrom('session').where('expires_at', '<=', slot('now')))
  return (run) => ({
    find: async (id) => {
      const [row] = await find(run, { id })
      return row === undefined ? null : toSession(row)
    },
    add: async (session) => void (await add(run, session)),
    remove: async (id) => void (await remove(run, { id })),
    sweep: async (now) => void (await sweep(run, { now })),
  })
}

export function counterStatements(db: Kysely<Tables>): (run: Run) => Counters {
  const count = statement<Now & { key: string }, { count: number }>((slot) =>
    db.selectFrom('counter').select('count').where('key', '=', slot('key')).where('until', '>', slot('now')),
  )
  const add = statement<Now & { key: string; by: number; until: number }, { count: number }>((slot) =>
    db
      .insertInto('counter')
      .values({ key: slot('key'), count: slot('by'), until: slot('until') })
      .onConflict((conflict) =>
        conflict.column('key').doUpdateSet({
          count: sql<number>`case when counter.until > ${slot('now')} then counter.count + excluded.count else excluded.count end`,
          until: sql<number>`case when counter.until > ${slot('now')} then counter.until else excluded.until end`,
        }),
      )
      .returning('count'),
  )
  const sweep = statement<Now, unknown>((slot) => db.deleteFrom('counter').where('until', '<=', slot('now')))
  return (run) => ({
    count: async (key, now) => (await count(run, { key, now }))[0]?.count ?? 0,
    add: async (key, by, now, until) => (await add(run, { key, by, now, until }))[0]?.count ?? by,
    sweep: async (now) => void (await sweep(run, { now })),
  })
}

function toChallenge(row: Tables['challenge']): Challenge {
  return {
    id: row.id,
    envelope: row.envelope as EnvelopeId,
    org: row.org as OrgId,
    address: row.address as Address,
    codeHash: row.code_hash,
    thumbprint: row.thumbprint,
    triesLeft: row.tries_left,
    expiresAt: row.expires_at,
  }
}

function toSession(row: Tables['session']): Session {
  return {
    id: row.id,
    org: row.org as OrgId,
    address: row.address as Address,
    thumbprint: row.thumbprint,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  }
}
