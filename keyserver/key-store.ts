import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * A place for wrapped keys, apart from the database: what is removed here must be gone, and no log, replica or long-lived backup may keep
 * it. Names are paths of letters, digits, `.`, `-`, `_` and `/`.
 */
export interface KeyStore {
  /** Null if there is none of that name. */
  get(name: string): Promise<Uint8Array | null>
  /** On disk, all of them, when it resolves. An object that is there already is an error. */
  put(objects: readonly { readonly name: string; readonly octets: Uint8Array }[]): Promise<void>
  remove(name: string): Promise<void>
  /** Names below a folder, or all of them below ''; in no order, empty if there is no such folder. */
  list(folder: string): Promise<readonly string[]>
}

/** A {@link KeyStore} in a folder that only this account can read. One file an object; fsync, rename, folder fsync. */
export async function openKeyFolder(folder: string): Promise<KeyStore> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  return {
    get: async (name) => {
      try {
        return await readFile(pathOf(folder, name))
      } catch (cause) {
        if (isMissing(cause)) return null
        throw cause
      }
    },
    put: async (objects) => {
      await Promise.all(objects.map(({ name, octets }) => write(folder, name, octets)))
      const folders = new Set(objects.map(({ name }) => dirname(pathOf(folder, name))))
      for (const one of folders) await syncFolder(one)
    },
    remove: async (name) => {
      const path = pathOf(folder, name)
      await blank(path)
      await rm(path, { force: true })
      await syncFolder(dirname(path)).catch((cause: unknown) => {
        if (!isMissing(cause)) throw cause
      })
    },
    list: async (below) => {
      try {
        const entries = await readdir(below === '' ? folder : pathOf(folder, below), {
          withFileTypes: true,
          recursive: true,
        })
        const files = entries.filter((entry) => entry.isFile() && !entry.name.endsWith('.new'))
        return files.map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
      } catch (cause) {
        if (isMissing(cause)) return []
        throw cause
      }
    },
  }
}

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/

function pathOf(folder: string, name: string): string {
  if (!NAME.test(name)) throw new Error('not a name of a key store object')
  return join(folder, name)
}

async function write(folder: string, name: string, octets: Uint8Array): Promise<void> {
  const path = pathOf(folder, name)
  await makeFolder(folder, dirname(path))
  const scratch = `${path}.${randomBytes(6).toString('hex')}.new`
  const file = await open(scratch, 'wx', 0o600)
  await closing(file, async () => {
    await file.writeFile(octets)
    await file.sync()
  })
  await rename(scratch, path)
}

/** Makes a folder and everything above it up to the root of the store, each durable in the one above. */
async function makeFolder(root: string, folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let one = folder; one.length >= root.length; one = dirname(one)) await syncFolder(dirname(one))
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  await closing(handle, () => handle.sync())
}

/** Overwrites a file where it lies. The octets are wrapped anyway; this is for file systems that write in place. */
async function blank(path: string): Promise<void> {
  try {
    const file = await open(path, 'r+')
    await closing(file, async () => {
      const { size } = await file.stat()
      await file.write(new Uint8Array(size), 0, size, 0)
      await file.sync()
    })
  } catch (cause) {
    if (!isMissing(cause)) throw cause
  }
}

async function closing(file: FileHandle, act: () => Promise<unknown>): Promise<void> {
  try {
    await act()
  } finally {
    await file.close()
  }
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
}
