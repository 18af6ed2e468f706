import { close, fsync, open, rename, write } from 'node:fs'
import { mkdir, readdir, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { GatewayError, orDiskFull } from './error.ts'
import type { SpoolEntry, SpoolState } from './spool-entry.ts'
import { encodeSpoolFile, HEAD, readSpoolMail, readSpoolMeta, type SpoolContent } from './spool-file.ts'
import { loadSpoolKey, type SpoolKey } from './spool-key.ts'
import { createSpoolWriter } from './spool-writer.ts'

/** What lies in the spool: `<id>`, written once, and beside it `<id>.state`, replaced as a whole. All of it encrypted. */
export type SpoolFolder = {
  /** Durable when it resolves, or there is nothing. Rejects with `disk-full`, or with whatever the mail's stream fails with. Gives the octets on disk. */
  add(entry: SpoolEntry, mail: AsyncIterable<Uint8Array>): Promise<number>
  /** `durable` fsyncs: for what nobody else knows. */
  note(id: string, state: SpoolState, options: { readonly durable: boolean }): Promise<void>
  mail(id: string): AsyncIterable<Uint8Array>
  remove(id: string): Promise<void>
  /** Everything that is there. */
  load(): AsyncIterable<Loaded>
  /** Whether the disk has so little room left that no more is taken in. */
  isFull(): Promise<boolean>
  /** Once what was asked for is done. */
  close(): Promise<void>
}

export type Loaded =
  | { readonly kind: 'entry'; readonly entry: SpoolEntry; readonly state: SpoolState | null; readonly size: number }
  | { readonly kind: 'damaged'; readonly id: string; readonly cause: unknown }

export type SpoolFolderOptions = {
  readonly folder: string
  /** File of the key; made at the first start. */
  readonly keyFile: string
  /** Octets of the disk that are left free. */
  readonly reserve: number
}

const ID = /^[0-9a-f]{22}$/
const DRAFT = '.draft-'
const STATE = '.state'
/** How long a look at the disk counts. A thousand mails a second of 100 KB take 25 MB meanwhile. */
const LOOK_MS = 250

const files = {
  open: promisify(open),
  write: promisify(write),
  fsync: promisify(fsync),
  close: promisify(close),
  rename: promisify(rename),
}

/** The folder is made where it is missing, and rid of drafts and states that a killed process left. */
export async function openSpoolFolder({ folder, keyFile, reserve }: SpoolFolderOptions): Promise<SpoolFolder> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const name of await readdir(folder)) if (name.startsWith(DRAFT)) await rm(join(folder, name), { force: true })
  const names = new Set(await readdir(folder))
  const key = await loadSpoolKey(
    keyFile,
    [...names].some((name) => ID.test(name)),
  )
  const syncFolder = createFolderSync(folder)
  const writer = createSpoolWriter({ folder, draft: DRAFT, head: HEAD })
  const noted = new Set<string>()
  for (const name of names) {
    if (!name.endsWith(STATE)) continue
    const id = name.slice(0, -STATE.length)
    if (names.has(id)) noted.add(id)
    // Its mail went, and the process was killed before this did.
    else await rm(join(folder, name), { force: true })
  }
  const pathOf = (id: string) => join(folder, checked(id))
  let looked: { readonly at: number; readonly full: Promise<boolean> } | null = null

  const isFull = (): Promise<boolean> => {
    const now = performance.now()
    if (looked === null || now - looked.at > LOOK_MS) looked = { at: now, full: hasLess(folder, reserve) }
    return looked.full
  }
  const putLarge = async (name: string, pieces: AsyncIterable<Uint8Array>): Promise<number> => {
    const draft = join(folder, `${DRAFT}${name}`)
    try {
      const size = await writeWhole(draft, pieces)
      await files.rename(draft, join(folder, name))
      await syncFolder()
      return size
    } catch (error) {
      await rm(draft, { force: true })
      throw error
    }
  }
  const put = async (name: string, content: SpoolContent, durable: boolean): Promise<number> => {
    const pieces = encodeSpoolFile(key, name, content)
    try {
      const [first, second] = [await pieces.next(), await pieces.next()]
      const read = [first, second].flatMap((one) => (one.done === true ? [] : [one.value]))
      const [only, more] = read
      if (only === undefined || more !== undefined) return await putLarge(name, following(read, pieces))
      await writer.write({ name, octets: only, durable })
      return only.length
    } catch (error) {
      throw orDiskFull(error)
    }
  }

  return {
    isFull,
    async add(entry, mail) {
      // The reserve is there for what must be said of mail that is here already.
      if (entry.kind === 'message' && (await isFull())) throw new GatewayError('disk-full')
      return put(checked(entry.id), { meta: { v: 1, entry }, mail }, true)
    },
    async note(id, state, { durable }) {
      noted.add(id)
      await put(`${checked(id)}${STATE}`, { meta: { v: 1, state }, mail: null }, durable)
    },
    mail: (id) => readSpoolMail(key, id, pathOf(id)),
    async remove(id) {
      // In this order: a state without its mail is nothing, a mail without its state is one that was never tried.
      await writer.remove(checked(id))
      if (noted.delete(id)) await writer.remove(`${id}${STATE}`)
    },
    load: () => loadAll(folder, key),
    close: () => writer.close(),
  }
}

/** What lies in a spool, whether its gateway runs or not; nothing is changed. Rejects where the key is missing or cannot be read. */
export async function* readSpool({ folder, keyFile }: Pick<SpoolFolderOptions, 'folder' | 'keyFile'>) {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return []
    throw error
  })
  if (names.some((name) => ID.test(name))) yield* loadAll(folder, await loadSpoolKey(keyFile, true))
}

async function* loadAll(folder: string, key: SpoolKey): AsyncGenerator<Loaded> {
  for (const id of await readdir(folder)) {
    if (!ID.test(id)) continue
    const path = join(folder, id)
    try {
      const { entry } = (await readSpoolMeta(key, id, path)) as { readonly entry: SpoolEntry }
      const state = await readSpoolMeta(key, `${id}${STATE}`, `${path}${STATE}`).then(
        // What was sealed under our own key was written by us.
        (meta) => (meta as { readonly state: SpoolState }).state,
        // Missing, or torn by a power cut: what it said the key server knows better.
        () => null,
      )
      yield { kind: 'entry', entry, state, size: (await stat(path)).size }
    } catch (cause) {
      // Delivered meanwhile, and something else may be in the file by now.
      if (await isThere(path)) yield { kind: 'damaged', id, cause }
    }
  }
}

/** No other name ever becomes a path. */
function checked(id: string): string {
  if (!ID.test(id)) throw new Error('not the id of a spool entry')
  return id
}

async function* following(read: readonly Uint8Array[], rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* read
  yield* rest
}

/** Plain descriptors: a file handle costs about twice as much. */
async function writeWhole(path: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const file = await files.open(path, 'wx', 0o600)
  let size = 0
  try {
    for await (const piece of pieces) {
      for (let at = 0; at < piece.length; ) {
        const { bytesWritten } = await files.write(file, piece, at, piece.length - at, null)
        at += bytesWritten
      }
      size += piece.length
    }
    await files.fsync(file)
  } finally {
    await files.close(file)
  }
  return size
}

/** An fsync of the folder that begins after the call. Those who ask while one is under way share the next. */
function createFolderSync(folder: string): () => Promise<void> {
  let running: Promise<void> = Promise.resolve()
  let next: Promise<void> | null = null
  const sync = async () => {
    const file = await files.open(folder, 'r')
    try {
      await files.fsync(file)
    } finally {
      await files.close(file)
    }
  }
  return () => {
    next ??= running.then(() => {
      next = null
      const done = sync()
      running = done.catch(() => undefined)
      return done
    })
    return next
  }
}

async function hasLess(folder: string, octets: number): Promise<boolean> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize < octets
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => !isMissing(error),
  )
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
