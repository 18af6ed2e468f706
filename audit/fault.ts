/** What verification can find. The names are stable: they stand in `--json`. */
export type FaultKind =
  /** A record and its stored hash do not belong together. */
  | 'leaf-altered'
  /** A leaf says that it belongs to another index. */
  | 'leaf-moved'
  /** Leaves are missing between others. */
  | 'gap'
  /** A row stands twice, or where it cannot stand. */
  | 'disorder'
  /** Leaves that a checkpoint covers are missing at the end. */
  | 'cut'
  | 'record-malformed'
  | 'side-altered'
  /** The leaves of this range are not those that were signed. */
  | 'root-differs'
  /** A stored hash of the tree is not that of the leaves below it. */
  | 'tile-altered'
  | 'checkpoint-malformed'
  | 'checkpoint-unsigned'
  | 'checkpoint-altered'
  | 'no-checkpoint'
  /** Leaves behind the last checkpoint, too old to have none. */
  | 'unsigned'
  | 'no-key'
  | 'log-missing'
  /** The log ends before the earlier checkpoint that was kept elsewhere. */
  | 'rolled-back'
  /** The log is not the one that the earlier checkpoint was made over. */
  | 'rewritten'
  | 'earlier-checkpoint-unusable'
  /** A release after the end of its envelope, or of one that never was. */
  | 'rule-broken'
  | 'time-runs-back'

/** One finding: in which log, in which leaves (`from` to `to`, both included; null where it is about no leaf), and in words. */
export type Fault = {
  readonly kind: FaultKind
  readonly log: string
  readonly from: number | null
  readonly to: number | null
  readonly text: string
}

/** Collects the faults of one log; after the first thousand they are only counted, so that a ruined log cannot fill the memory. */
export type Findings = {
  add(kind: FaultKind, range: readonly [from: number, to: number] | null, text: string): void
  readonly faults: readonly Fault[]
  readonly more: () => number
}

const MOST = 1000

export function createFindings(log: string): Findings {
  const faults: Fault[] = []
  let more = 0
  return {
    faults,
    more: () => more,
    add(kind, range, text) {
      if (faults.length < MOST) faults.push({ kind, log, from: range?.[0] ?? null, to: range?.[1] ?? null, text })
      else more++
    },
  }
}

/** `leaf 7` or `leaves 7 to 9`. */
export function leavesText(from: number, to: number): string {
  return from === to ? `leaf ${from}` : `leaves ${from} to ${to}`
}
