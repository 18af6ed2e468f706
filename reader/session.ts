import type { SessionAnswer } from '../protocol/reader-api.ts'
import { createProofKey, type ProofKey } from './dpop.ts'

/**
 * What the browser keeps between two links, in IndexedDB: the proof key, which cannot leave it, and the session bound to that key. A token
 * without the key is worth nothing.
 */
export type Keeper = {
  /** The kept key, or a fresh one. */
  readonly key: ProofKey
  /** The kept session, or null if there is none that is still good. */
  session(): SessionAnswer | null
  keep(session: SessionAnswer): Promise<void>
  /** Forgets the session; the key stays. */
  forget(): Promise<void>
}

const DATABASE = 'sealpost'
const STORE = 'kept'

/**
 * Opens the keeper. Where the browser keeps nothing (a private window of some browsers), it lasts as long as the page. `now` is Unix
 * milliseconds.
 */
export async function createKeeper(now: () => number): Promise<Keeper> {
  const database = await openDatabase()
  const kept = database === null ? null : await get<ProofKey>(database, 'key')
  const key = kept ?? (await createProofKey())
  if (database !== null && kept === null) await put(database, 'key', key)
  let session = database === null || kept === null ? null : await get<SessionAnswer>(database, 'session')

  return {
    key,
    session: () => (session !== null && Date.parse(session.expiresAt) > now() ? session : null),
    async keep(fresh) {
      session = fresh
      if (database !== null) await put(database, 'session', fresh)
    },
    async forget() {
      session = null
      if (database !== null) await put(database, 'session', null)
    },
  }
}

async function openDatabase(): Promise<IDBDatabase | null> {
  try {
    const request = indexedDB.open(DATABASE, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(STORE)
    return await done(request)
  } catch {
    // Without a database everything still works; a second link then needs a second code.
    return null
  }
}

async function get<T>(database: IDBDatabase, name: string): Promise<T | null> {
  try {
    const value: unknown = await done(database.transaction(STORE).objectStore(STORE).get(name))
    // Only this file writes to the store, each name with one type.
    return (value as T | undefined) ?? null
  } catch {
    // What cannot be read was never kept.
    return null
  }
}

async function put(database: IDBDatabase, name: string, value: unknown): Promise<void> {
  try {
    await done(database.transaction(STORE, 'readwrite').objectStore(STORE).put(value, name))
  } catch {
    // No room, no keys in private windows, or the site's data was cleared: it lasts as long as the page, which is no reason to stop.
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  request.onsuccess = () => resolve(request.result)
  request.onerror = () => reject(request.error)
  return promise
}
