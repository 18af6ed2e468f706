import { originOf, type SignerKey, signCheckpoint } from './checkpoint.ts'
import type { AuditRecord } from './kinds.ts'
import { type SidePart, sealSide, sideHash } from './personal.ts'
import { encodeLeaf, personsOf, splitRecord } from './record.ts'
import { append, emptyFrontier, encodeFrontier, type Frontier, type Hash, leafHash, rootOf } from './tree.ts'

/** A record and the sealed clear values of the people in it. */
export type Entry = { readonly record: AuditRecord; readonly side?: readonly SidePart[] }

/** A row of `log_leaf`. */
export type LeafRow = {
  readonly log: string
  readonly idx: number
  readonly hash: Hash
  readonly record: Uint8Array
  readonly side: Uint8Array | null
}

/** A row of `log_checkpoint`. */
export type CheckpointRow = {
  readonly log: string
  readonly size: number
  readonly note: string
  readonly frontier: Uint8Array
}

/** What a log was when the process last stopped: the frontier of its last checkpoint, and the leaf hashes behind it, in order. */
export type Resumption = { readonly frontier: Frontier; readonly hashes: Iterable<Hash> }

/**
 * Gives leaves their places. Holds, for each log, what is durable and what the open transaction has staged; does no I/O. One writer a database,
 * one transaction at a time: `stage` any number of times, then exactly one of `committed` and `rolledBack`.
 */
export type LogWriter = {
  /** Rows to be inserted in the open transaction. Throws a RangeError on a record that does not fit its kind; nothing is staged then. */
  stage(log: string, entries: readonly Entry[]): readonly LeafRow[]
  /** The transaction is durable: what was staged is now the log. */
  committed(): void
  /** It is not: what was staged never was. */
  rolledBack(): void
  /** The durable part of a log. */
  frontier(log: string): Frontier
  /** Every log with leaves that no checkpoint covers yet. */
  uncovered(): readonly string[]
  /**
   * The checkpoint over the durable part of a log: a row to be inserted, which counts as done by `checkpointed`. Null where there is no news.
   */
  checkpoint(log: string, key: SignerKey): CheckpointRow | null
  checkpointed(row: CheckpointRow): void
}

type State = { readonly durable: Frontier; readonly staged: Frontier; readonly covered: number }

/** A writer that goes on from `logs` (by log; an absent one is empty). The signing key of `log` must bear the name `originOf(host, log)`. */
export function createLogWriter(host: string, logs: ReadonlyMap<string, Resumption>): LogWriter {
  const states = new Map<string, State>()
  for (const [log, { frontier, hashes }] of logs) {
    const durable = append(frontier, hashes)
    states.set(log, { durable, staged: durable, covered: frontier.size })
  }
  const stateOf = (log: string): State =>
    states.get(log) ?? { durable: emptyFrontier, staged: emptyFrontier, covered: 0 }

  function settle(next: (state: State) => State): void {
    for (const [log, state] of states) if (state.staged !== state.durable) states.set(log, next(state))
  }

  return {
    stage(log, entries) {
      const state = stateOf(log)
      const rows = rowsOf(log, state.staged.size, entries)
      const staged = append(
        state.staged,
        rows.map((row) => row.hash),
      )
      states.set(log, { ...state, staged })
      return rows
    },
    committed: () => settle((state) => ({ ...state, durable: state.staged })),
    rolledBack: () => settle((state) => ({ ...state, staged: state.durable })),
    frontier: (log) => stateOf(log).durable,
    uncovered: () => [...states].flatMap(([log, state]) => (state.durable.size > state.covered ? [log] : [])),
    checkpoint(log, key) {
      const { durable, covered } = stateOf(log)
      if (durable.size === covered) return null
      const origin = originOf(host, log)
      if (key.name !== origin) throw new TypeError(`the key of ${log} must bear the name ${origin}`)
      const note = signCheckpoint({ origin, size: durable.size, root: rootOf(durable) }, key)
      return { log, size: durable.size, note, frontier: encodeFrontier(durable) }
    },
    checkpointed({ log, size }) {
      const state = stateOf(log)
      states.set(log, { ...state, covered: Math.max(state.covered, size) })
    },
  }
}

function rowsOf(log: string, from: number, entries: readonly Entry[]): readonly LeafRow[] {
  const rows: LeafRow[] = []
  for (const { record, side: parts = [] } of entries) {
    const records = splitRecord(record)
    if (records.length === 1) {
      rows.push(rowOf(log, from + rows.length, record, sealSide(parts)))
      continue
    }
    let left = parts
    for (const [i, one] of records.entries()) {
      const persons = new Set(personsOf(one))
      // What belongs to nobody in the record by name (a network address, say) stays with its last part.
      const mine = i === records.length - 1 ? left : left.filter((part) => persons.has(part.pseudonym))
      left = left.filter((part) => !mine.includes(part))
      rows.push(rowOf(log, from + rows.length, one, sealSide(mine)))
    }
  }
  return rows
}

function rowOf(log: string, idx: number, one: AuditRecord, side: Uint8Array | null): LeafRow {
  const record = encodeLeaf(one, idx, sideHash(side))
  return { log, idx, hash: leafHash(record), record, side }
}
