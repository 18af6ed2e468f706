import { type Note, parseVerifierKey, type VerifierKey, verifyNote } from './checkpoint.ts'
import { createFindings, type Fault, type Findings, leavesText } from './fault.ts'
import { createJudge, type Judge } from './judge.ts'
import { createLook, type Look } from './look.ts'
import { createMarks, type Marks } from './marks.ts'
import { decodeLeaf } from './record.ts'
import type { LogSource, StoredLeaf } from './source.ts'
import { type Hash, leafHash } from './tree.ts'

export type VerifyOptions = {
  /** The keys to trust; null trusts those recorded beside the log, and the report says so. */
  readonly keys: readonly VerifierKey[] | null
  /** Checkpoints of this log that were kept elsewhere. */
  readonly against: readonly Note[]
  /** Called every 10,000 leaves with their number. */
  readonly progress?: (leaves: number) => void
}

/** What was found. Verified exactly if `faults` is empty. */
export type LogReport = {
  readonly log: string
  readonly leaves: number
  readonly checkpoints: number
  /** Leaves under the last good checkpoint; those behind it are in the log, but nothing signed says so yet. */
  readonly covered: number
  /** The root of the last good checkpoint, or null. */
  readonly root: Hash | null
  readonly keysFrom: 'given' | 'recorded'
  readonly faults: readonly Fault[]
  /** Faults beyond those listed. */
  readonly moreFaults: number
}

/** Whether a verifier key, or a checkpoint's origin, belongs to a log: `<host>/log/<log>`. */
export function belongsTo(origin: string, log: string): boolean {
  return origin.endsWith(`/log/${log}`)
}

/**
 * Walks a log once, from its first leaf to its last, and names everything that does not hold: docs/audit.md, "What verify looks at".
 * Throws only if the source does.
 */
export function verifyLog(source: LogSource, options: VerifyOptions): LogReport {
  const findings = createFindings(source.log)
  const keys = options.keys?.filter((key) => belongsTo(key.name, source.log)) ?? recordedKeys(source, findings)
  if (keys.length === 0) findings.add('no-key', null, 'there is no key to check its checkpoints with')
  const judge = createJudge(keys, findings)
  const look = createLook(source, findings)
  const marks = createMarks(source, usable(options.against, keys, findings), judge, findings)
  const next = walk({ source, findings, judge, look, marks }, options.progress)
  const { covered, checkpoints, root } = judge.finish()
  if (checkpoints === 0 && next > 0) findings.add('no-checkpoint', null, 'it has leaves, and no checkpoint at all')
  else if (findings.faults.length === 0) judgeUnsigned(source, covered, next, findings)
  const keysFrom = options.keys === null ? 'recorded' : 'given'
  const { faults } = findings
  return { log: source.log, leaves: next, checkpoints, covered, root, keysFrom, faults, moreFaults: findings.more() }
}

type Walk = {
  readonly source: LogSource
  readonly findings: Findings
  readonly judge: Judge
  readonly look: Look
  readonly marks: Marks
}

/** From the first leaf to the last; answers how many there are. */
function walk({ source, findings, judge, look, marks }: Walk, progress: VerifyOptions['progress']): number {
  let next = 0
  try {
    for (const leaf of source.leaves()) {
      if (!inOrder(leaf, next, findings)) continue
      if (leaf.index > next) {
        marks.passed(next)
        judge.lose()
        // A checkpoint inside the gap is judged too, but the walk cannot go on from it.
        marks.passed(leaf.index - 1)
        judge.lose()
        look.lose()
      }
      marks.passed(leaf.index)
      const hash = leafHash(leaf.record)
      judge.leaf(leaf.index, hash, leaf.hash ?? hash)
      look.at(leaf, hash)
      next = leaf.index + 1
      if (next % 10_000 === 0) progress?.(next)
    }
    look.finish()
    marks.passed(next)
    marks.end(next)
  } finally {
    marks.close()
  }
  return next
}

/** A checkpoint is made every second while there is news. A server that is killed again and again as it starts may take some minutes to make one. */
const LONGEST_UNSIGNED_MS = 600_000

/** Whoever takes the newest checkpoints away can write the leaves under them anew; what a server leaves unsigned is of its last moments. */
function judgeUnsigned(source: LogSource, from: number, end: number, findings: Findings): void {
  if (from >= end) return
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const { record } of source.leaves(from)) {
    const decoded = decodeLeaf(record)
    if (decoded.kind !== 'leaf') continue
    const time = Date.parse(decoded.leaf.record.time)
    first = Math.min(first, time)
    last = Math.max(last, time)
  }
  if (last - first <= LONGEST_UNSIGNED_MS) return
  const minutes = Math.round((last - first) / 60_000)
  const text = `${leavesText(from, end - 1)}: under no checkpoint, though written over ${minutes} minutes, and one is made every second: newer ones were taken away`
  findings.add('unsigned', [from, end - 1], text)
}

function recordedKeys(source: LogSource, findings: Findings): readonly VerifierKey[] {
  return source.keys.flatMap((text) => {
    const key = parseVerifierKey(text)
    if (key !== null && belongsTo(key.name, source.log)) return [key]
    findings.add('no-key', null, 'a key recorded beside it is not one of this log')
    return []
  })
}

function usable(notes: readonly Note[], keys: readonly VerifierKey[], findings: Findings): readonly Note[] {
  return notes.filter((note) => {
    const signed = verifyNote(note, keys)
    if (!signed) {
      const text = `the earlier checkpoint over ${note.checkpoint.size} leaves is not signed by the log's key; nothing was compared with it`
      findings.add('earlier-checkpoint-unusable', null, text)
    }
    return signed
  })
}

function inOrder(leaf: StoredLeaf, next: number, findings: Findings): boolean {
  if (leaf.index > next) {
    const [from, to] = [next, leaf.index - 1]
    findings.add('gap', [from, to], `${leavesText(from, to)}: missing`)
    return true
  }
  if (leaf.index === next) return true
  const place = Number.isSafeInteger(leaf.index) ? leaf.index : next
  findings.add(
    'disorder',
    [place, place],
    `a row behind leaf ${next - 1} stands twice or bears no index that it can have`,
  )
  return false
}
