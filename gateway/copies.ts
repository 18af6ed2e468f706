import { randomBytes } from 'node:crypto'
import { close, closeSync, fsync, mkdirSync, open, openSync, rename, renameSync, write, writeSync } from 'node:fs'
import { copyFile, link, mkdir, open as openFile, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type EnvelopeId, parseEnvelopeId } from '../protocol/identifiers.ts'
import { readFrom, type SealedCopy } from './sealing.ts'

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
  /** The copy, or null. */
  get(id: EnvelopeId): Promise<StoredCopy | null>
  has(id: EnvelopeId): Promise<boolean>
  /** Removes what there is; true if there was something. */
  delete(id: EnvelopeId): Promise<boolean>
}

const DRAFTS = 'drafts'
/** Up to here, octets, a copy into the page cache costs less than handing it to another thread and waiting. */
const SMALL = 128 * 1024

/**
 * Copies in a folder: `<first character>/<id>`, mode 0600. The folder is made where it is missing, and rid of drafts that a killed process left.
 * Best on one file system with the folder of sealing.ts, whose files are then linked and not copied.
 */
export async function createFolderCopies(folder: string): Promise<Copies> {
  const drafts = join(folder, DRAFTS)
  await mkdir(drafts, { recursive: true, mode: 0o700 })
  await sweepDrafts(drafts)
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

  return {
    async put(id, copy, { durable }) {
      const draft = join(drafts, `${checked(id)}.${randomBytes(3).toString('hex')}`)
      const { bytes } = copy
      try {
        if (bytes !== null && bytes.length <= SMALL && !durable) return placeAtOnce(draft, pathOf(id), bytes)
        if (bytes !== null) await writeBytes(draft, bytes, durable)
        else if (copy.path !== null) await linkFile(draft, copy.path, durable)
        const newShard = await place(draft, id)
        if (durable) await syncFolder(shardOf(id))
        if (durable && newShard) await syncFolder(folder)
      } catch (error) {
        await rm(draft, { force: true })
        throw error
      }
    },
    async get(id) {
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
      try {
        return (await stat(pathOf(id))).isFile()
      } catch (error) {
        if (isMissing(error)) return false
        throw error
      }
    },
    async delete(id) {
      try {
        await rm(pathOf(id))
        return true
      } catch (error) {
        if (isMissing(error)) return false
        throw error
      }
    },
  }
}

/** No other name ever becomes a path. */
function checked(id: EnvelopeId): string {
  if (parseEnvelopeId(id) === null) throw new Error('not an envelope id')
  return id
}

function placeAtOnce(draft: string, path: string, bytes: Uint8Array): void {
  const file = openSync(draft, 'wx', 0o600)
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
  } finally {
    closeSync(file)
  }
  try {
    renameSync(draft, path)
  } catch (error) {
    if (!isMissing(error)) throw error
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    renameSync(draft, path)
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
