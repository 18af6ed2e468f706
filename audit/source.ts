import type { Hash } from './tree.ts'

/** A stored leaf as it was found. `hash` is null where the place keeps none. An index that is no number is NaN. */
export type StoredLeaf = {
  readonly index: number
  readonly record: Uint8Array
  readonly hash: Hash | null
  readonly side: Uint8Array | null
}

/** A stored checkpoint as it was found. `size` says where it was filed; `frontier` is null where the place keeps none. */
export type StoredCheckpoint = { readonly size: number; readonly note: string; readonly frontier: Uint8Array | null }

/** One log, wherever it lies: the rows of a database or an exported folder. */
export type LogSource = {
  /** The organization's id, or `server`. */
  readonly log: string
  /** The verifier keys recorded beside it: only as good as the place itself. */
  readonly keys: readonly string[]
  /** How many leaves are to be expected, for a progress display. */
  readonly size: number
  /** By index, lowest first. */
  leaves(from?: number): Iterable<StoredLeaf>
  /** By size, smallest first. */
  checkpoints(): Iterable<StoredCheckpoint>
  /** The stored hashes of a tile (C2SP tlog-tiles) of this level, or null if it is not there; absent where the place keeps no tiles. */
  readonly tile?: (level: number, index: number, width: number) => readonly Hash[] | null
}

/** The place could not be read at all; the message says why, for a person. */
export class UnreadableError extends Error {
  override readonly name = 'UnreadableError'
}
