import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fsync,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** What is to be done in the spool's folder at a time: first the files, then what is removed. */
export type SpoolOrder = {
  readonly files: readonly FileToWrite[]
  /** Names; one that is not there is removed already. */
  readonly removed: readonly string[]
}

export type FileToWrite = {
  readonly name: string
  /** All of it. */
  readonly octets: Uint8Array
  /** With an fsync of it and of the folder; otherwise it is only there as a whole or not at all. */
  readonly durable: boolean
}

/** In the order of what was asked for; null: it is done. A file that failed is not there. */
export type SpoolOrderResult = {
  readonly files: readonly (DiskFault | null)[]
  readonly removed: readonly (DiskFault | null)[]
}

/** An error of the file system, in a form that goes from thread to thread. */
export type DiskFault = { readonly code: string | null; readonly message: string }

export type SpoolDisk = {
  /** One at a time. Never rejects. */
  carryOut(order: SpoolOrder): Promise<SpoolOrderResult>
  /** Gives back the room of what is kept for further use. True once there is none. */
  tidy(): boolean
}

export type SpoolDiskOptions = {
  readonly folder: string
  /** Begins the name of what is no mail yet, or no more; all of it may be removed at a start. */
  readonly draft: string
  /** Octets at the beginning of each file without which nobody can read the rest. */
  readonly head: number
}

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
/**
 * Files of delivered mail that new mail is written into: making an inode and freeing it costs a file system several times what filling it does.
 * Octets of one, and of all of them, in whole blocks.
 */
const SPARES = { one: 64 * 1024, all: 64 * 1024 * 1024 }
const BLOCK = 4096
const TIDIED_AT_ONCE = 16
/** From so many on it is worth an fsync of the folder to keep what is removed without anything being written. */
const WORTH_KEEPING = 4

/** A file on its way to its name. */
type Draft = FileToWrite & { path: string; descriptor: number | null; fault: DiskFault | null }
type Spare = { readonly path: string; readonly octets: number }
const fsyncOf = promisify(fsync)

/**
 * Files are written first, then fsynced, all side by side so that one commit of the file system's journal can serve them all; then each gets its
 * name; then the folder is fsynced. Only in a later order is anything written into a file that was removed in this one: whatever a power
 * cut leaves, no name ever leads to the octets of another.
 */
export function createSpoolDisk({ folder, draft: prefix, head }: SpoolDiskOptions): SpoolDisk {
  const spares: Spare[] = []
  /** Of all spares. */
  let octetsKept = 0
  let drafts = 0
  const pathOf = (name: string) => join(folder, name)
  // A thread that died may have left some.
  const run = randomBytes(4).toString('hex')
  const newPath = () => pathOf(`${prefix}${run}-${drafts++}`)

  function write(draft: Draft): void {
    const spare = spares.pop()
    octetsKept -= spare?.octets ?? 0
    draft.path = spare?.path ?? newPath()
    const { octets } = draft
    const file = openSync(draft.path, spare === undefined ? CREATE : constants.O_WRONLY, 0o600)
    draft.descriptor = file
    for (let at = 0; at < octets.length; ) at += writeSync(file, octets, at, octets.length - at, at)
    if (spare !== undefined) ftruncateSync(file, octets.length)
  }

  async function sync(draft: Draft): Promise<void> {
    const { descriptor } = draft
    if (descriptor === null) return
    try {
      if (draft.durable && draft.fault === null) await fsyncOf(descriptor)
    } catch (error) {
      draft.fault = faultOf(error)
    }
    closeSync(descriptor)
  }

  /** What is kept of it for further use, if it has no more octets than `most`. */
  function remove(name: string, most: number): Spare | null {
    const path = pathOf(name)
    const octets = most <= 0 ? 0 : Math.ceil(statSync(path).size / BLOCK) * BLOCK
    if (octets === 0 || octets > Math.min(most, SPARES.one)) {
      unlinkSync(path)
      return null
    }
    const spare = { path: newPath(), octets }
    renameSync(path, spare.path)
    return spare
  }

  function syncFolder(): void {
    const descriptor = openSync(folder, 'r')
    try {
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
  }

  /** What is kept goes into `kept`. */
  function removeAll(names: readonly string[], most: number, kept: Spare[]): (DiskFault | null)[] {
    let left = most
    return names.map((name) => {
      const fault = attempt(() => {
        const spare = remove(name, left)
        if (spare === null) return
        kept.push(spare)
        left -= spare.octets
      })
      return fault?.code === 'ENOENT' ? null : fault
    })
  }

  /** What was removed can be read by nobody from now on, whoever has the key. */
  function spoil(path: string): void {
    const descriptor = openSync(path, constants.O_WRONLY)
    try {
      writeSync(descriptor, Buffer.alloc(head), 0, head, 0)
    } finally {
      closeSync(descriptor)
    }
  }

  /** Once the folder is on the disk; a file that cannot be spoilt goes. */
  function keep(spare: Spare): void {
    if (attempt(() => spoil(spare.path)) !== null) {
      attempt(() => unlinkSync(spare.path))
      return
    }
    spares.push(spare)
    octetsKept += spare.octets
  }

  /** Gives room back. True once there is nothing to give. */
  function tidy(most: number): boolean {
    for (const { path, octets } of spares.splice(0, most)) {
      octetsKept -= octets
      attempt(() => unlinkSync(path))
    }
    return spares.length === 0
  }

  return {
    async carryOut({ files, removed }) {
      const drafts = files.map((file): Draft => ({ ...file, path: '', descriptor: null, fault: null }))
      for (const draft of drafts) draft.fault = attempt(() => write(draft))
      await Promise.all(drafts.map(sync))
      for (const draft of drafts) draft.fault ??= attempt(() => renameSync(draft.path, pathOf(draft.name)))
      const durable = drafts.filter((draft) => draft.durable && draft.fault === null)
      const kept: Spare[] = []
      const syncs = durable.length > 0 || removed.length >= WORTH_KEEPING
      // Without an fsync of the folder nothing could be written into them.
      const faults = removeAll(removed, syncs ? SPARES.all - octetsKept : 0, kept)
      const unsynced = durable.length > 0 || kept.length > 0 ? attempt(syncFolder) : null
      for (const spare of kept) {
        if (unsynced === null) keep(spare)
        else attempt(() => unlinkSync(spare.path))
      }
      for (const draft of unsynced === null ? [] : durable) {
        // Nobody knows whether it would be there after a power cut.
        draft.fault = unsynced
        draft.path = pathOf(draft.name)
      }
      const failed = drafts.filter(({ fault }) => fault !== null)
      // What cannot be removed now is removed at the next start.
      for (const { path } of failed) attempt(() => unlinkSync(path))
      if (failed.length > 0) tidy(spares.length)
      return { files: drafts.map(({ fault }) => fault), removed: faults }
    },
    tidy: () => tidy(TIDIED_AT_ONCE),
  }
}

/** What went wrong, or null. */
function attempt(act: () => void): DiskFault | null {
  try {
    act()
    return null
  } catch (error) {
    return faultOf(error)
  }
}

function faultOf(error: unknown): DiskFault {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null
  return { code, message: error instanceof Error ? error.message : String(error) }
}
