import { randomBytes } from 'node:crypto'
import { existsSync, rmSync, statSync } from 'node:fs'
import { open, rename, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Whether ordinary works may still be written; `short` says why not, and what to do. */
export type RoomState = { readonly kind: 'good' } | { readonly kind: 'short'; readonly because: string }

/** The room that is left beside the database, and a reserve of it. */
export interface Room {
  state(): RoomState
  /** Whether the reserve lies ready. */
  hasReserve(): boolean
  /** Asks the file system, and makes the reserve where it is gone and there is room again. Throws where it does not answer. */
  look(): Promise<void>
  /**
   * Gives the reserve up, so that what must be written can be. Ordinary works wait from then on until it is there again, or they would
   * take the room that it left.
   */
  spend(): void
}

export type RoomOptions = {
  /** The database file; the reserve lies beside it. */
  readonly database: string
  /** Octets that must be free for ordinary works. */
  readonly keepFree: number
  /** Octets of the reserve. */
  readonly reserve: number
}

const MIB = 1024 ** 2
/** After a reserve that could not be made the next try waits: under a quota the file system counts room that is not ours. */
const PAUSE_MS = 10_000

/** Before the first `look` there is room. */
export function createRoom({ database, keepFree, reserve }: RoomOptions): Room {
  const folder = dirname(database)
  const file = `${database}.reserve`
  let free = Number.POSITIVE_INFINITY
  let wasSpent = false
  let fault: string | null = null
  let notBefore = 0
  let looking: Promise<void> | null = null
  const hasReserve = () => existsSync(file) && statSync(file).size === reserve

  async function look(): Promise<void> {
    const { bavail, bsize } = await statfs(folder)
    free = bavail * bsize
    if (!hasReserve()) await restore()
  }
  async function restore(): Promise<void> {
    if (free < keepFree + reserve || performance.now() < notBefore) return
    try {
      rmSync(file, { force: true })
      await make(file, reserve)
      fault = null
      wasSpent = false
    } catch (cause) {
      fault = cause instanceof Error ? cause.message : String(cause)
      notBefore = performance.now() + PAUSE_MS
      rmSync(scratchOf(file), { force: true })
    }
  }
  return {
    state: () => {
      const mib = Math.floor(free / MIB)
      if (free < keepFree) return short(`${mib} MiB are free in ${folder}, fewer than the ${keepFree / MIB} to be kept`)
      if (!wasSpent) return { kind: 'good' }
      return short(`the reserve ${file} was used, and ${fault ?? `${mib} MiB are too few to make it again`}`)
    },
    hasReserve,
    // Never two at once: each would make the reserve.
    look: () => {
      looking ??= look().finally(() => {
        looking = null
      })
      return looking
    },
    spend: () => {
      wasSpent = true
      rmSync(file, { force: true })
    },
  }
}

function short(because: string): RoomState {
  return { kind: 'short', because: `${because}: make room; until then only revocations and refusals are recorded` }
}

const scratchOf = (file: string) => `${file}.new`

/** Random octets, which no file system stores in less room than they say. Durable, or not there. */
async function make(file: string, octets: number): Promise<void> {
  const handle = await open(scratchOf(file), 'w', 0o600)
  try {
    for (let left = octets; left > 0; left -= MIB) await handle.appendFile(randomBytes(Math.min(left, MIB)))
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(scratchOf(file), file)
  const folder = await open(dirname(file), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
