import { closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import { ConfigError } from './config-document.ts'
import { systemFault } from './system-fault.ts'

/**
 * Takes the file `lock` (made if need be, and never removed) for this process until it ends, however it ends: the system gives it free, so nothing is left to clean up
 * after a kill. `what` is what it stands for. Throws a {@link ConfigError} where another process has it, or it cannot be made.
 */
export function takeAlone(lock: string, what: string): { readonly release: () => void } {
  let held: Database.Database | null = null
  try {
    mkdirSync(dirname(lock), { recursive: true, mode: 0o700 })
    // SQLite would take a file that it cannot write to for read-only, and lock nothing. Nobody else can lock what only we can open.
    closeSync(openSync(lock, 'a', 0o600))
    held = new Database(lock, { timeout: 0 })
    held.exec('begin exclusive')
  } catch (error) {
    held?.close()
    const isTaken = error instanceof Database.SqliteError && error.code === 'SQLITE_BUSY'
    const why = isTaken
      ? 'is in use by another process; stop that one first'
      : `cannot be used: ${systemFault(error, lock)}`
    throw new ConfigError([`${what} ${why}`])
  }
  const database = held
  return { release: () => void database.close() }
}
