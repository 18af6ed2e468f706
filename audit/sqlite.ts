import { constants, copyFileSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { type LogSource, type StoredCheckpoint, type StoredLeaf, UnreadableError } from './source.ts'

/**
 * Reads the logs in a key server's database: the tables of {@link file://./schema.ts}. Nothing is ever written where the file lies: the file,
 * and the -wal beside it, are copied into a folder of our own, which is unlinked as soon as the copy is open. So the evidence stays as it
 * is, a folder may be read-only, and a running server may be read.
 */
export type LogDatabase = {
  /** Every log that any of the tables knows, in order of name. */
  readonly logs: readonly LogSource[]
  close(): void
}

/** Throws {@link UnreadableError} where `file` is not a database with logs in it. */
export function openLogDatabase(file: string): LogDatabase {
  const db = openCopy(file)
  try {
    requireTables(file, db)
    const logs = logNames(db).map((log) => sourceOf(db, log))
    return { logs, close: () => db.close() }
  } catch (error) {
    db.close()
    throw unreadable(file, error)
  }
}

/** The copy, which has no name on the disk any more. Throws {@link UnreadableError} where `file` cannot be copied or is no database. */
export function openCopy(file: string): Database.Database {
  if (!existsSync(file)) throw new UnreadableError(`${file}: there is no such file`)
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-audit-'))
  try {
    const copy = join(folder, 'log.db')
    copyStill(file, copy)
    const db = new Database(copy)
    // The first read opens every file that belongs to it; after that their names are not needed.
    db.pragma('locking_mode = exclusive')
    db.prepare('select count(*) from sqlite_schema').get()
    return db
  } catch (error) {
    throw unreadable(file, error)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * Copies the database and its log of newer pages so that they fit together: if the main file did not change meanwhile, what was copied
 * of the -wal is a state that the database really had.
 */
function copyStill(file: string, copy: string): void {
  for (let tries = 0; tries < 20; tries++) {
    const before = statSync(file, { bigint: true })
    copyFileSync(file, copy, constants.COPYFILE_FICLONE)
    if (existsSync(`${file}-wal`)) copyFileSync(`${file}-wal`, `${copy}-wal`, constants.COPYFILE_FICLONE)
    const after = statSync(file, { bigint: true })
    if (before.mtimeNs === after.mtimeNs && before.size === after.size) return
  }
  throw new UnreadableError(`${file} is being written to all the time: stop the key server, or give a backup of it`)
}

/** What only bears a table's name may make rows without end as it is read, or other rows each time: nothing is kept in it. */
function requireTables(file: string, db: Database.Database): void {
  const made = db
    .prepare<[], string>(
      `select name from pragma_table_list as made where name in ('log_key', 'log_leaf', 'log_checkpoint')
         and (type <> 'table' or exists (select 1 from pragma_table_xinfo(made.name) where hidden <> 0))`,
    )
    .pluck()
    .get()
  if (made !== undefined)
    throw new UnreadableError(
      `${file}: ${made} is no table that keeps what was written into it: nothing here can be believed`,
    )
}

/** By a loose scan: one probe of the index for each log, however long it is. */
function logNames(db: Database.Database): readonly string[] {
  const names = ['log_key', 'log_leaf', 'log_checkpoint'].flatMap((table) =>
    db
      .prepare<[], unknown>(
        `with recursive found(log) as (select min(log) from ${table}
           union all select (select min(log) from ${table} where log > found.log) from found where found.log is not null)
         select log from found where log is not null`,
      )
      .pluck()
      .all(),
  )
  return [...new Set(names.map(String))].sort()
}

function sourceOf(db: Database.Database, log: string): LogSource {
  const last = db.prepare<[string], unknown>('select max(idx) from log_leaf where log = ?').pluck()
  const keys = db.prepare<[string], unknown>('select verifier from log_key where log = ?').pluck()
  const leaves = db.prepare<[string, number], StoredRow>(
    'select idx, hash, record, side from log_leaf where log = ? and idx >= ? order by idx',
  )
  const checkpoints = db.prepare<[string], StoredNote>(
    'select size, note, frontier from log_checkpoint where log = ? order by size',
  )
  return {
    log,
    keys: keys.all(log).map(String),
    size: Number(last.get(log) ?? -1) + 1,
    *leaves(from = Number.NEGATIVE_INFINITY): Iterable<StoredLeaf> {
      for (const row of readable(leaves.iterate(log, from), log)) {
        const index = typeof row.idx === 'number' ? row.idx : Number.NaN
        const side = row.side === null ? null : octetsOf(row.side)
        yield { index, record: octetsOf(row.record), hash: octetsOf(row.hash), side }
      }
    },
    *checkpoints(): Iterable<StoredCheckpoint> {
      for (const { size, note, frontier } of readable(checkpoints.iterate(log), log)) {
        yield { size: typeof size === 'number' ? size : -1, note: String(note), frontier: octetsOf(frontier) }
      }
    },
  }
}

/** As SQLite gave them: a database that was tampered with may hold any type in any column. */
type StoredRow = { readonly idx: unknown; readonly hash: unknown; readonly record: unknown; readonly side: unknown }
type StoredNote = { readonly size: unknown; readonly note: unknown; readonly frontier: unknown }

function octetsOf(value: unknown): Uint8Array {
  return value instanceof Uint8Array ? value : Buffer.from(String(value), 'utf8')
}

function* readable<T>(rows: Iterable<T>, log: string): Iterable<T> {
  try {
    yield* rows
  } catch (error) {
    throw unreadable(`log ${log}`, error)
  }
}

function unreadable(what: string, error: unknown): unknown {
  if (!(error instanceof Database.SqliteError)) return error
  if (error.message.startsWith('no such table')) return new UnreadableError(`${what}: it is a database without logs`)
  if (error.code.startsWith('SQLITE_CORRUPT')) {
    return new UnreadableError(
      `${what}: the database is damaged (${error.message}); what it holds cannot be read to the end`,
    )
  }
  return new UnreadableError(`${what}: cannot be read as a database (${error.message})`)
}
