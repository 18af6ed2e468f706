import { randomBytes } from 'node:crypto'
import { close, existsSync, fsync, open, rename, write } from 'node:fs'
import { copyFile, link, mkdir, open as openFile, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type EnvelopeId, parseEnvelopeId } from '../protocol/identifiers.ts'
import { readFrom } from './sealed-file.ts'
import type { SealedCopy } from './sealing.ts'
import { openSmallCopies } from './small-copies.ts'

/** A copy as it is served. It must be read to its end or closed. */
export type StoredCopy = {
  readonly size: number
  /** The octets; once. */
  chunks(): AsyncIterable<Uint8Array>
  /** May be called again. */
  close(): Promise<void>
}

/** Sealed copies for one-click links: one an envelope, the newest. */
export type Copies = {
  /**
   * Keeps the copy under the envelope's id, whole or not at all, in the place of an earlier one. `durable` fsyncs file and folder before it
   * resolves: for mails that do not carry their envelope. Without it the call may run beside the delivery.
   */
  put(id: EnvelopeId, copy: SealedCopy, options: { readonly durable: boolean }): Promise<void>
  /** Makes the copy that is there durable: for a mail that is not to carry its envelope after all. False if there is none. */
  settle(id: EnvelopeId): Promise<boolean>
  /** The copy, or null. */
  get(id: EnvelopeId): Promise<StoredCopy | null>
  has(id: EnvelopeId): Promise<boolean>
  /** Removes what there is; true if there was something. */
  delete(id: EnvelopeId): Promise<boolean>
  close(): void
}

const DRAFTS = 'drafts'
/** Up to here, octets, copies that need not be durable lie together in one database. */
const SMALL = 128 * 1024

/**
 * Copies in a folder: `<first character>/<id>`, mode 0600; the small ones in `small.sqlite`. The folder is made where it is missing, and rid
 * of drafts that a killed process left. Throws in plain words where the database cannot be opened. Best on one file system with the folder of sealing.ts, whose files are then linked and not copied.
 */
export async function createFolderCopies(folder: string): Promise<Copies> {
  const drafts = join(folder, DRAFTS)
  await mkdir(drafts, { recursive: true, mode: 0o700 })
  await sweepDrafts(drafts)
  const small = openSmallCopies(join(folder, 'small.sqlite'))
  // The last characters are as random as the first, but for the very last.
  const shardOf = (id: EnvelopeId) => join(folder, checked(id).slice(0, 1))
  const pathOf = (id: EnvelopeId) => join(shardOf(id), checked(id))

  const place = async (draft: string, id: EnvelopeId): Promise<boolean> => {
    try {
      await callback<void>((done) => rename(draft, pathOf(id), done))
      return false
    } catch (error) {
      if (!isMissing(error)) throw error
      await mkdir(shardOf(id), { recursive: true, mode: 0o700 })
      await callback<void>((done) => rename(draft, pathOf(id), done))
      return true
    }
  }

  const putFile = async (id: EnvelopeId, { bytes, path }: Pick<SealedCopy, 'bytes' | 'path'>, durable: boolean) => {
    const draft = join(drafts, `${checked(id)}.${randomBytes(3).toString('hex')}`)
    try {
      if (bytes !== null) await writeBytes(draft, bytes, durable)
      else if (path !== null) await linkFile(draft, path, durable)
      const newShard = await place(draft, id)
      if (durable) await syncFolder(shardOf(id))
      if (durable && newShard) await syncFolder(folder)
      small.delete(id)
    } catch (error) {
      await rm(draft, { force: true })
      throw error
    }
  }

  return {
    async put(id, copy, { durable }) {
      const { bytes } = copy
      if (bytes === null || bytes.length > SMALL || durable) return putFile(id, copy, durable)
      checked(id)
      await small.put(id, bytes)
      if (existsSync(pathOf(id))) await rm(pathOf(id), { force: true })
    },
    async settle(id) {
      const octets = small.get(checked(id))
      if (octets !== null) {
        await putFile(id, { bytes: octets, path: null }, true)
        return true
      }
      try {
        for (const path of [pathOf(id), shardOf(id), folder]) await syncFolder(path)
        return true
      } catch (error) {
        if (isMissing(error)) return false
        throw error
      }
    },
    async get(id) {
      checked(id)
      const octets = small.get(id)
      if (octets !== null) return inPlace(octets)
      try {
        const file = await openFile(pathOf(id), 'r')
        const { size } = await file.stat()
        return {
          size,
          close: () => file.close(),
          async *chunks() {
            try {
              yield* readFrom(file, size)
            } finally {
              await file.close()
            }
          },
        }
      } catch (error) {
        if (isMissing(error)) return null
        throw error
      }
    },
    async has(id) {
      checked(id)
      if (small.has(id)) return true
      try {
        return (await stat(pathOf(id))).isFile()
      } catch (error) {
        if (isMissing(error)) return false
        throw error
      }
    },
    async delete(id) {
      checked(id)
      const wasSmall = small.delete(id)
      try {
        await rm(pathOf(id))
        return true
      } catch (error) {
        if (isMissing(error)) return wasSmall
        throw error
      }
    },
    close: () => small.close(),
  }
}

/** No other name ever becomes a path. */
function checked(id: EnvelopeId): EnvelopeId {
  if (parseEnvelopeId(id) === null) throw new Error('not an envelope id')
  return id
}

function inPlace(octets: Uint8Array): StoredCopy {
  return {
    size: octets.length,
    close: async () => undefined,
    async *chunks() {
      yield octets
    },
  }
}

/** Plain descriptors: a file handle costs about twice as much, and this runs once a message. */
async function writeBytes(path: string, bytes: Uint8Array, durable: boolean): Promise<void> {
  const file = await callback<number>((done) => open(path, 'wx', 0o600, done))
  try {
    for (let at = 0; at < bytes.length; ) at += await callback<number>((done) => write(file, bytes, at, done))
    if (durable) await callback<void>((done) => fsync(file, done))
  } finally {
    await callback<void>((done) => close(file, done))
  }
}

async function linkFile(path: string, source: string, durable: boolean): Promise<void> {
  try {
    await link(source, path)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && (error.code === 'EXDEV' || error.code === 'EPERM'))) throw error
    await copyFile(source, path)
  }
  if (durable) await syncFolder(path)
}

/** Works for a file as well. */
async function syncFolder(path: string): Promise<void> {
  const folder = await openFile(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

async function sweepDrafts(drafts: string): Promise<void> {
  for (const name of await readdir(drafts)) {
    const { mtimeMs } = await stat(join(drafts, name))
    if (Date.now() - mtimeMs > 3_600_000) await rm(join(drafts, name), { force: true })
  }
}

function callback<T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    // Node gives a value wherever it gives no error and T is not void.
    call((error, value) => (error === null || error === undefined ? resolve(value as T) : reject(error)))
  })
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
