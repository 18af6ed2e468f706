import type { SessionAnswer } from '../protocol/reader-api.ts'
import { createProofKey, type ProofKey } from './dpop.ts'

/** A code that was mailed. Only the key that asked for it can answer the challenge. */
export type Asked = {
  readonly envelope: string
  readonly address: string
  readonly challenge: string
  /** By this device's clock, Unix milliseconds. */
  readonly until: number
}

/**
 * What the browser keeps between two links, in IndexedDB: the proof key, which cannot leave it, the session bound to that key, and what was
 * asked with it. A token without the key is worth nothing.
 */
export type Keeper = {
  /** The kept key, or a fresh one. */
  readonly key: ProofKey
  /** The kept session, or null. Whether it is still good, the server says: the clock here may be wrong by days. */
  session(): SessionAnswer | null
  /** Keeps a session, which answers what was asked. */
  keep(session: SessionAnswer): Promise<void>
  /** What was asked last and is not answered, or null. */
  asked(): Asked | null
  keepAsked(asked: Asked | null): Promise<void>
  /** Forgets the session and what was asked; the key stays. */
  forget(): Promise<void>
}

const DATABASE = 'sealpost'
const STORE = 'kept'

/** Opens the keeper. Where the browser keeps nothing (a private window of some browsers), it lasts as long as the page. */
export async function createKeeper(): Promise<Keeper> {
  const database = await openDatabase()
  const key = database === null ? await createProofKey() : await keptKey(database)
  let session = database === null ? null : await get<SessionAnswer>(database, 'session')
  let asked = database === null ? null : await get<Asked>(database, 'asked')

  return {
    key,
    session: () => session,
    async keep(fresh) {
      session = fresh
      asked = null
      if (database !== null) await put(database, { session, asked })
    },
    asked: () => asked,
    async keepAsked(fresh) {
      asked = fresh
      if (database !== null) await put(database, { asked })
    },
    async forget() {
      session = null
      asked = null
      if (database !== null) await put(database, { session, asked })
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

/** The kept key. Where there is none, one that is fresh, or that another tab has kept meanwhile. */
async function keptKey(database: IDBDatabase): Promise<ProofKey> {
  const kept = await get<ProofKey>(database, 'key')
  if (kept !== null) return kept
  const fresh = await createProofKey()
  await write(database, (store) => [store.add(fresh, 'key')])
  return (await get<ProofKey>(database, 'key')) ?? fresh
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

function put(database: IDBDatabase, values: Readonly<Record<string, unknown>>): Promise<void> {
  return write(database, (store) => Object.entries(values).map(([name, value]) => store.put(value, name)))
}

async function write(database: IDBDatabase, act: (store: IDBObjectStore) => IDBRequest[]): Promise<void> {
  try {
    await Promise.all(act(database.transaction(STORE, 'readwrite').objectStore(STORE)).map(done))
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
