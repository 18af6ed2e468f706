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
  /** Gives back the room of what was removed and cannot be used again yet: with little to do it never is. */
  sweep(): void
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
/** From so many removed files on, an fsync of the folder is worth its while although nothing is written. */
const WORTH_SYNCING = 64

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
  /** Removed, but not yet so on the disk: nothing may be written into them. */
  const leaving: Spare[] = []
  /** Of both. */
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

  /** Keeps it for further use, if there is room. */
  function remove(name: string): void {
    const path = pathOf(name)
    const octets = Math.ceil(statSync(path).size / BLOCK) * BLOCK
    if (octets === 0 || octets > SPARES.one || octetsKept + octets > SPARES.all) {
      unlinkSync(path)
      return
    }
    const spare = { path: newPath(), octets }
    renameSync(path, spare.path)
    leaving.push(spare)
    octetsKept += octets
  }

  function removeAll(names: readonly string[]): (DiskFault | null)[] {
    return names.map((name) => {
      const fault = attempt(() => remove(name))
      return fault?.code === 'ENOENT' ? null : fault
    })
  }

  function syncFolder(): void {
    const descriptor = openSync(folder, 'r')
    try {
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
  }

  /** Brings the folder to the disk: what was removed until now can be used from then on. */
  function settleFolder(): DiskFault | null {
    const fault = attempt(syncFolder)
    for (const spare of leaving.splice(0)) {
      // One that cannot be spoilt goes.
      if (fault === null && attempt(() => spoil(spare.path)) === null) spares.push(spare)
      else forget(spare)
    }
    return fault
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

  function forget({ path, octets }: Spare): void {
    octetsKept -= octets
    attempt(() => unlinkSync(path))
  }

  /** Gives room back. True once there is nothing to give. */
  function tidy(most: number): boolean {
    for (const spare of spares.splice(0, most)) forget(spare)
    return spares.length === 0
  }

  return {
    async carryOut({ files, removed }) {
      const drafts = files.map((file): Draft => ({ ...file, path: '', descriptor: null, fault: null }))
      for (const draft of drafts) draft.fault = attempt(() => write(draft))
      await Promise.all(drafts.map(sync))
      for (const draft of drafts) draft.fault ??= attempt(() => renameSync(draft.path, pathOf(draft.name)))
      const durable = drafts.filter((draft) => draft.durable && draft.fault === null)
      const faults = removeAll(removed)
      const unsynced = durable.length > 0 || leaving.length >= WORTH_SYNCING ? settleFolder() : null
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
    sweep() {
      for (const spare of leaving.splice(0)) forget(spare)
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
