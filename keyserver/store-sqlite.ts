import { closeSync, openSync } from 'node:fs'
import Database from 'better-sqlite3'
import { CompiledQuery, Kysely, SqliteDialect, sql } from 'kysely'
import { Migrator } from 'kysely/migration'
import { originOf, verifierKey } from '../audit/checkpoint.ts'
import { createLogWriter, type Entry, type LeafRow, type LogWriter } from '../audit/writer.ts'
import { createBatch, type Unit } from './batch.ts'
import { KeyServerError } from './error.ts'
import { migrations } from './migrations.ts'
import type { Room } from './room.ts'
import type { Run } from './statement.ts'
import type { AuditLog, Store, Tx, Urgency } from './store.ts'
import { envelopeStatements } from './store-envelopes.ts'
import { holdStatements } from './store-holds.ts'
import { type LogRows, logStatements, resumptions } from './store-log.ts'
import { changeStatements, metaStatements, peopleStatements, policyStatements } from './store-policies.ts'
import { challengeStatements, counterStatements, sessionStatements } from './store-sessions.ts'
import type { Tables } from './tables.ts'
import { openWalFlush } from './wal-flush.ts'

export type SqliteStoreOptions = {
  /** The database file; made if there is none. */
  readonly file: string
  /** Host part of the logs' origins. */
  readonly host: string
  /** Where it is watched how much room is left. */
  readonly room?: Room
}

/**
 * A {@link Store} in one SQLite file: WAL, on disk before a work settles, deleted octets overwritten. One connection writes, one reads.
 * Throws in plain words if the file is not a database of ours or cannot be opened.
 */
export async function openSqliteStore({ file, host, room }: SqliteStoreOptions): Promise<Store> {
  const writing = connect(file)
  const db = kysely(writing)
  await migrate(db, file)
  const reading = connect(file)
  reading.pragma('query_only = ON')
  const reads = kysely(reading)
  const bind = binder(db)
  const run = runner(writing)
  const writer = createLogWriter(host, await resumptions(db))
  const rows = logStatements(db)
  const wal = await openWalFlush(file)
  const batch = createBatch(() => startUnit({ run, bind, logRows: rows, writer, flush: wal.flush }), asUnavailable)
  const readTx = bind(runner(reading), noLog)
  const requireRoom = () => {
    const state = room?.state() ?? { kind: 'good' }
    if (state.kind === 'short') throw new KeyServerError('unavailable', { retryAfter: 60 })
  }
  /** Moves the journal into the database, as far as there is room: that gives back the room of the journal. */
  async function emptyJournal(): Promise<void> {
    try {
      await batch.between(() => void writing.pragma('wal_checkpoint(TRUNCATE)'))
    } catch {
      // Not even for that is there room; what the reserve left may do.
    }
  }

  async function urgently<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    try {
      return await batch.run(work)
    } catch (cause) {
      if (room === undefined || !isFull(cause)) throw cause
      room.spend()
      await emptyJournal()
      return await batch.run(work)
    }
  }
  async function transact<T>(work: (tx: Tx) => Promise<T>, urgency: Urgency = 'ordinary'): Promise<T> {
    if (urgency === 'urgent') return await urgently(work)
    if (urgency === 'upkeep') return await batch.run(work)
    requireRoom()
    return await batch.run((tx) => {
      // Again, for it may have waited while the reserve was given up for something else.
      requireRoom()
      return work(tx)
    })
  }

  return {
    transact,
    requireRoom,
    read: (work) => work(readTx).catch((cause: unknown) => Promise.reject(asUnavailable(cause))),
    checkpoint: async (keyOf) => {
      for (const log of writer.uncovered()) {
        const key = keyOf(originOf(host, log))
        const row = writer.checkpoint(log, key)
        if (row === null) continue
        await batch.run((tx) => tx.audit.addCheckpoint(row, verifierKey(key)))
        writer.checkpointed(row)
      }
    },
    scrub: async () => {
      let busy = true
      await batch.between(() => {
        busy = writing.pragma('wal_checkpoint(TRUNCATE)', { simple: true }) !== 0
      })
      return !busy
    },
    ping: async () => {
      await wal.check()
      await sql`select 1`.execute(reads)
    },
    close: async () => {
      await batch.idle()
      // Kysely closes only what it has used; the journal goes from beside the database with its last connection.
      reading.close()
      writing.close()
      await wal.close()
    },
  }
}

type Bind = (run: Run, audit: AuditLog) => Tx

function binder(db: Kysely<Tables>): Bind {
  const envelopes = envelopeStatements(db)
  const holds = holdStatements(db)
  const challenges = challengeStatements(db)
  const sessions = sessionStatements(db)
  const counters = counterStatements(db)
  const policies = policyStatements(db)
  const changes = changeStatements(db)
  const people = peopleStatements(db)
  const meta = metaStatements(db)
  return (run, audit) => ({
    envelopes: envelopes(run),
    holds: holds(run),
    challenges: challenges(run),
    sessions: sessions(run),
    counters: counters(run),
    policies: policies(run),
    changes: changes(run),
    people: people(run),
    meta: meta(run),
    audit,
  })
}

const BEGIN = CompiledQuery.raw('begin')
const COMMIT = CompiledQuery.raw('commit')
const ROLLBACK = CompiledQuery.raw('rollback')
const SAVEPOINT = CompiledQuery.raw('savepoint work')
const RELEASE = CompiledQuery.raw('release work')
const ROLLBACK_TO = CompiledQuery.raw('rollback to work')

type UnitParts = {
  readonly run: Run
  readonly bind: Bind
  readonly logRows: (run: Run) => LogRows
  readonly writer: LogWriter
  readonly flush: () => Promise<void>
}

async function startUnit({ run, bind, logRows, writer, flush }: UnitParts): Promise<Unit<Tx>> {
  await run(BEGIN, [])
  const rows = logRows(run)
  const leaves: LeafRow[] = []
  let entries: { readonly log: string; readonly entry: Entry }[] = []
  let hasSavepoint = false
  let torn = false

  // Leaves get their places here, when their work has succeeded; they are written at the end, all together. What throws after a first
  // one has its place can only be undone with the whole transaction.
  function placeEntries(): void {
    for (const { log, entry } of entries) {
      leaves.push(...writer.stage(log, [entry]))
      torn = true
    }
  }
  return {
    tx: bind(run, {
      append: (log, entry) => void entries.push({ log, entry }),
      addCheckpoint: (row, verifier) => rows.insertCheckpoint(row, verifier),
    }),
    begin: async (only) => {
      entries = []
      hasSavepoint = !only
      if (hasSavepoint) await run(SAVEPOINT, [])
    },
    keep: async () => {
      placeEntries()
      if (hasSavepoint) await run(RELEASE, [])
      torn = false
    },
    undo: async () => {
      if (!hasSavepoint) return
      if (torn) throw new Error('a log entry could not be written')
      await run(ROLLBACK_TO, [])
      await run(RELEASE, [])
    },
    commit: async () => {
      for (const leaf of leaves) await rows.insertLeaf(leaf)
      await run(COMMIT, [])
      await flush()
      writer.committed()
    },
    rollback: async () => {
      writer.rolledBack()
      await run(ROLLBACK, [])
    },
  }
}

const noLog: AuditLog = {
  append: () => refuseLog(),
  addCheckpoint: async () => refuseLog(),
}

function refuseLog(): never {
  throw new Error('the log is written in a transaction only')
}

function connect(file: string): Database.Database {
  try {
    // Who wrote to whom is nobody else's affair; SQLite gives the files beside it the same mode.
    closeSync(openSync(file, 'a', 0o600))
    const database = new Database(file, { timeout: 5000 })
    database.pragma('journal_mode = WAL')
    // A commit is brought to the disk by a flush of our own, while the thread goes on; checkpoints are synced by SQLite as ever.
    database.pragma('synchronous = NORMAL')
    database.pragma('secure_delete = ON')
    database.pragma('foreign_keys = ON')
    database.pragma('temp_store = MEMORY')
    // 16 MiB, as the system caches the file too: SQLite goes through the whole of it at some commits.
    database.pragma('cache_size = -16384')
    // 16 MiB: pages that are written again and again go into the database once, and checkpoints interrupt less often.
    database.pragma('wal_autocheckpoint = 4000')
    return database
  } catch (cause) {
    throw new KeyServerError('unavailable', { detail: `the database ${file} cannot be opened: ${words(cause)}`, cause })
  }
}

/** Kysely on a connection, for what is not asked often. */
function kysely(database: Database.Database): Kysely<Tables> {
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database }) })
}

/**
 * Runs compiled queries on a connection, each prepared once. Kysely's own executor takes several turns of promises for every query, and
 * prepares it again.
 */
function runner(database: Database.Database): Run {
  const prepared = new WeakMap<CompiledQuery, Database.Statement<unknown[], unknown>>()
  return async <R>(query: CompiledQuery<R>, parameters: readonly unknown[]) => {
    let known = prepared.get(query)
    if (known === undefined) {
      known = database.prepare(query.sql)
      prepared.set(query, known)
    }
    // A compiled query says of itself which rows it gives.
    if (known.reader) return known.all(...parameters) as R[]
    known.run(...parameters)
    return []
  }
}

async function migrate(db: Kysely<Tables>, file: string): Promise<void> {
  const { error } = await new Migrator({ db, provider: migrations }).migrateToLatest()
  if (error === undefined) return
  throw new KeyServerError('unavailable', {
    detail: `the database ${file} cannot be brought up to date: ${words(error)}`,
    cause: error,
  })
}

const STORAGE_FAULT = /^SQLITE_(FULL|IOERR|READONLY|BUSY|LOCKED|CORRUPT|CANTOPEN|NOTADB|PROTOCOL)/

/** What a disk, a quota or a limit on files that takes no more looks like. */
function isFull(cause: unknown): boolean {
  const inner = cause instanceof KeyServerError ? cause.cause : cause
  return inner instanceof Error && 'code' in inner && /^SQLITE_(FULL|IOERR)/.test(String(inner.code))
}

/** What the database itself cannot do just now is `unavailable`; everything else stays what it is. */
function asUnavailable(cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  return STORAGE_FAULT.test(code) ? new KeyServerError('unavailable', { cause }) : cause
}

function words(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
