import { closeSync, openSync } from 'node:fs'
import Database from 'better-sqlite3'
import type { EnvelopeId } from '../protocol/identifiers.ts'

/**
 * Small sealed copies together in one database: a file each would cost a busy file system more than sealing does. What is kept survives a
 * killed process, not a power cut.
 */
export type SmallCopies = {
  /** Resolves once it is written; what is put in one turn of the event loop shares a transaction. */
  put(id: EnvelopeId, octets: Uint8Array): Promise<void>
  get(id: EnvelopeId): Uint8Array | null
  has(id: EnvelopeId): boolean
  /** Overwrites it; true if there was one. */
  delete(id: EnvelopeId): boolean
  close(): void
}

type Job = {
  readonly id: Buffer
  readonly octets: Uint8Array
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

/** Opens the file, or makes it, mode 0600. Throws in plain words where it is no database, or a damaged one. */
export function openSmallCopies(file: string): SmallCopies {
  const db = connect(file)
  const insert = db.prepare<[Buffer, Uint8Array]>('insert or replace into copy (id, octets) values (?, ?)')
  const select = db.prepare<[Buffer], { octets: Buffer }>('select octets from copy where id = ?')
  const find = db.prepare<[Buffer], { found: 1 }>('select 1 as found from copy where id = ?')
  const remove = db.prepare<[Buffer]>('delete from copy where id = ?')
  const insertAll = db.transaction((jobs: readonly Job[]) => {
    for (const { id, octets } of jobs) insert.run(id, octets)
  })
  let waiting: Job[] = []

  function write(): void {
    const jobs = waiting
    waiting = []
    try {
      insertAll(jobs)
    } catch (cause) {
      for (const { reject } of jobs) reject(cause)
      return
    }
    for (const { resolve } of jobs) resolve()
  }

  return {
    put: (id, octets) =>
      new Promise((resolve, reject) => {
        if (waiting.length === 0) setImmediate(write)
        waiting.push({ id: keyOf(id), octets, resolve, reject })
      }),
    get: (id) => select.get(keyOf(id))?.octets ?? null,
    has: (id) => find.get(keyOf(id)) !== undefined,
    delete: (id) => remove.run(keyOf(id)).changes > 0,
    close: () => void db.close(),
  }
}

function keyOf(id: EnvelopeId): Buffer {
  return Buffer.from(id, 'base64url')
}

function connect(file: string): Database.Database {
  try {
    // What SQLite lays beside it gets the same mode.
    closeSync(openSync(file, 'a', 0o600))
    const db = new Database(file, { timeout: 5000 })
    // A copy of some KB then lies in one or two pages.
    db.pragma('page_size = 16384')
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = NORMAL')
    db.pragma('secure_delete = ON')
    db.exec('create table if not exists copy (id blob primary key, octets blob not null) strict')
    return db
  } catch (cause) {
    const words = cause instanceof Error ? cause.message : String(cause)
    throw new Error(
      `the sealed copies in ${file} cannot be opened (${words}). If the file is damaged, move it away: mails that carry their envelope do not need it`,
      { cause },
    )
  }
}
