import type { Kysely } from 'kysely'
import { decodeFrontier, emptyFrontier } from '../audit/tree.ts'
import type { CheckpointRow, LeafRow, Resumption } from '../audit/writer.ts'
import { type Run, statement } from './statement.ts'
import type { Tables } from './tables.ts'

export type LogRows = {
  insertLeaf(row: LeafRow): Promise<void>
  insertCheckpoint(row: CheckpointRow, verifier: string): Promise<void>
}

export function logStatements(db: Kysely<Tables>): (run: Run) => LogRows {
  const leaf = statement<LeafRow, unknown>((slot) =>
    db.insertInto('log_leaf').values({
      log: slot('log'),
      idx: slot('idx'),
      hash: slot('hash'),
      record: slot('record'),
      side: slot('side'),
    }),
  )
  const checkpoint = statement<CheckpointRow, unknown>((slot) =>
    db
      .insertInto('log_checkpoint')
      .values({ log: slot('log'), size: slot('size'), note: slot('note'), frontier: slot('frontier') }),
  )
  const key = statement<Tables['log_key'], unknown>((slot) =>
    db
      .insertInto('log_key')
      .values({ log: slot('log'), verifier: slot('verifier') })
      .onConflict((conflict) => conflict.doNothing()),
  )
  return (run) => ({
    insertLeaf: async (row) => void (await leaf(run, row)),
    insertCheckpoint: async (row, verifier) => {
      await key(run, { log: row.log, verifier })
      await checkpoint(run, row)
    },
  })
}

/** Where each log ended: its last checkpoint and the leaves behind it. Throws on a checkpoint that cannot be read. */
export async function resumptions(db: Kysely<Tables>): Promise<ReadonlyMap<string, Resumption>> {
  const found = new Map<string, Resumption>()
  for (const { log } of await db.selectFrom('log_leaf').select('log').distinct().execute()) {
    const last = await db
      .selectFrom('log_checkpoint')
      .select('frontier')
      .where('log', '=', log)
      .orderBy('size', 'desc')
      .limit(1)
      .executeTakeFirst()
    const frontier = last === undefined ? emptyFrontier : decodeFrontier(last.frontier)
    if (frontier === null)
      throw new Error(`the last checkpoint of log ${log} cannot be read: restore the database from a backup`)
    const rows = await db
      .selectFrom('log_leaf')
      .select('hash')
      .where('log', '=', log)
      .where('idx', '>=', frontier.size)
      .orderBy('idx')
      .execute()
    found.set(log, { frontier, hashes: rows.map((row) => row.hash) })
  }
  return found
}
