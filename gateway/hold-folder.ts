import { mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError, orDiskFull } from './error.ts'
import type { HoldEntry } from './hold-entry.ts'
import { inMemory, type SealedCopy } from './sealing.ts'
import { encodeSpoolFile, readSpoolMail, readSpoolMeta } from './spool-file.ts'
import { loadSpoolKey, type SpoolKey } from './spool-key.ts'

/** Mail that is held: one file each, in the form of the spool's files, under a key of their own. */
export type HoldFolder = {
  /** Durable when it resolves, or there is nothing. Rejects with `disk-full`, or with what the copy's octets fail with. Gives the octets on disk. */
  add(entry: HoldEntry, sealed: AsyncIterable<Uint8Array>): Promise<number>
  /** Rejects where it cannot be read. */
  read(id: string): Promise<HoldEntry>
  /** The sealed copy as it was put in; to be disposed of. */
  copy(entry: HoldEntry): Promise<SealedCopy>
  remove(id: string): Promise<void>
  /** Everything that is there. */
  load(): AsyncIterable<LoadedHold>
}

export type LoadedHold =
  | { readonly kind: 'entry'; readonly entry: HoldEntry; readonly size: number }
  | { readonly kind: 'damaged'; readonly id: string; readonly cause: unknown }

export type HoldFolderOptions = {
  readonly folder: string
  /** File of the key; made at the first start. */
  readonly keyFile: string
  /** Octets of the disk that are left free. */
  readonly reserve: number
}

/** Where a gateway with this data folder keeps what is held. */
export function holdPlaceIn(data: string): Pick<HoldFolderOptions, 'folder' | 'keyFile'> {
  return { folder: join(data, 'held'), keyFile: join(data, 'held.key') }
}

const ID = /^[0-9a-f]{22}$/
const DRAFT = '.draft-'
const MEMORY_LIMIT = 1024 * 1024

/** The folder is made where it is missing, and rid of drafts that a killed process left. */
export async function openHoldFolder({ folder, keyFile, reserve }: HoldFolderOptions): Promise<HoldFolder> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const names = await readdir(folder)
  for (const name of names) if (name.startsWith(DRAFT)) await rm(join(folder, name), { force: true })
  const isOccupied = names.some((name) => ID.test(name))
  const key = await loadSpoolKey(keyFile, isOccupied)
  return {
    async add(entry, sealed) {
      const { bavail, bsize } = await statfs(folder)
      if (bavail * bsize < reserve) throw new GatewayError('disk-full')
      const draft = join(folder, `${DRAFT}${checked(entry.id)}`)
      try {
        const content = encodeSpoolFile(key, nameOf(entry.id), { meta: { v: 1, entry }, mail: sealed })
        const size = await writeWhole(draft, content)
        await rename(draft, join(folder, entry.id))
        await sync(folder)
        return size
      } catch (error) {
        await rm(draft, { force: true })
        throw orDiskFull(error)
      }
    },
    read: (id) => entryIn(folder, key, id),
    copy: (entry) => copyOf(folder, key, entry),
    remove: (id) => rm(join(folder, checked(id)), { force: true }),
    load: () => loadAll(folder, key),
  }
}

/** A file of the spool that is put here by another name, or the other way round, does not open. */
function nameOf(id: string): string {
  return `held ${id}`
}

/** No other name ever becomes a path. */
function checked(id: string): string {
  if (!ID.test(id)) throw new Error('not the id of a held mail')
  return id
}

async function* loadAll(folder: string, key: SpoolKey): AsyncGenerator<LoadedHold> {
  for (const id of await readdir(folder)) {
    if (!ID.test(id)) continue
    try {
      const entry = await entryIn(folder, key, id)
      yield { kind: 'entry', entry, size: (await stat(join(folder, id))).size }
    } catch (cause) {
      yield { kind: 'damaged', id, cause }
    }
  }
}

async function entryIn(folder: string, key: SpoolKey, id: string): Promise<HoldEntry> {
  const meta = await readSpoolMeta(key, nameOf(id), join(folder, checked(id)))
  // What was sealed under our own key was written by us.
  return (meta as { readonly entry: HoldEntry }).entry
}

/** A large one lies in a file besides, which is ciphertext as it will be kept for the link. */
async function copyOf(folder: string, key: SpoolKey, { id, sealed }: HoldEntry): Promise<SealedCopy> {
  const chunks = () => readSpoolMail(key, nameOf(id), join(folder, checked(id)))
  if (sealed.sealedSize <= MEMORY_LIMIT) {
    const pieces: Uint8Array[] = []
    for await (const piece of chunks()) pieces.push(piece)
    return inMemory(Buffer.concat(pieces), sealed.plainSize)
  }
  const path = join(folder, `${DRAFT}${id}.sealed`)
  const dispose = () => rm(path, { force: true })
  try {
    await dispose()
    await writeWhole(path, chunks())
  } catch (error) {
    await dispose()
    throw error
  }
  return { ...sealed, bytes: null, path, chunks, dispose }
}

async function writeWhole(path: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const file = await open(path, 'wx', 0o600)
  let size = 0
  try {
    for await (const piece of pieces) {
      await file.writeFile(piece)
      size += piece.length
    }
    await file.sync()
  } finally {
    await file.close()
  }
  return size
}

async function sync(folder: string): Promise<void> {
  const file = await open(folder, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
