import { type Note, parseVerifierKey, type VerifierKey, verifyNote } from './checkpoint.ts'
import { createFindings, type Fault, type Findings, leavesText } from './fault.ts'
import { createJudge, type Judge } from './judge.ts'
import { sideHash } from './personal.ts'
import { same } from './proof.ts'
import { decodeLeaf } from './record.ts'
import { createRules, type Rules } from './rules.ts'
import type { LogSource, StoredCheckpoint, StoredLeaf } from './source.ts'
import { createTiler, TILE, type Tile } from './tiles.ts'
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
  let next = 0
  for (const leaf of source.leaves()) {
    if (!inOrder(leaf, next, findings)) continue
    if (leaf.index > next) {
      marks.passed(next)
      judge.lose()
      // A checkpoint inside the gap is judged too, but the walk cannot go on from it.
      marks.passed(leaf.index - 1)
      judge.lose()
    }
    marks.passed(leaf.index)
    const hash = leafHash(leaf.record)
    judge.leaf(leaf.index, hash, leaf.hash ?? hash)
    look.at(leaf, hash)
    next = leaf.index + 1
    if (next % 10_000 === 0) options.progress?.(next)
  }
  look.finish()
  marks.passed(next)
  marks.end(next)
  const { covered, checkpoints, root } = judge.finish()
  if (checkpoints === 0 && next > 0) findings.add('no-checkpoint', null, 'it has leaves, and no checkpoint at all')
  const keysFrom = options.keys === null ? 'recorded' : 'given'
  const { faults } = findings
  return { log: source.log, leaves: next, checkpoints, covered, root, keysFrom, faults, moreFaults: findings.more() }
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

type Look = { at(leaf: StoredLeaf, hash: Hash): void; finish(): void }

/** What can be seen of a leaf without its neighbours, the order of the records, and the stored tiles above them. */
function createLook(source: LogSource, findings: Findings): Look {
  const rules: Rules = createRules()
  const tiles = source.tile === undefined ? null : createTiler()
  function look(leaf: StoredLeaf): void {
    const at = [leaf.index, leaf.index] as const
    const decoded = decodeLeaf(leaf.record)
    if (decoded.kind === 'refused') {
      // A record that its stored hash disowns is named by the judge already.
      if (leaf.hash === null || same(leafHash(leaf.record), leaf.hash)) {
        findings.add('record-malformed', at, `leaf ${leaf.index}: not a record: ${decoded.reason}`)
      }
      return
    }
    const { index, side, record } = decoded.leaf
    if (index !== leaf.index) findings.add('leaf-moved', at, `leaf ${leaf.index}: holds the record of leaf ${index}`)
    if (leaf.side !== null && sideHash(leaf.side) !== side) {
      findings.add('side-altered', at, `leaf ${leaf.index}: the sealed values beside it were altered`)
    }
    for (const { kind, text } of rules.observe(leaf.index, record)) {
      findings.add(kind, at, `leaf ${leaf.index} (${record.kind}): ${text}`)
    }
  }
  return {
    at(leaf, hash) {
      for (const tile of tiles?.push(hash) ?? []) compareTile(source, tile, findings)
      look(leaf)
    },
    finish() {
      for (const tile of tiles?.rest() ?? []) compareTile(source, tile, findings)
    },
  }
}

function compareTile(source: LogSource, tile: Tile, findings: Findings): void {
  const stored = source.tile?.(tile.level, tile.index, tile.hashes.length)
  const width = 256 ** tile.level
  for (const [i, hash] of tile.hashes.entries()) {
    const found = stored?.[i]
    // The stored hashes of leaves are compared one by one by the judge; here it only counts that they are there.
    if (found !== undefined && (tile.level === 0 || same(found, hash))) continue
    const from = (tile.index * TILE + i) * width
    const what = found === undefined ? 'is missing' : 'is not the hash of what it holds'
    const text = `${leavesText(from, from + width - 1)}: the stored hash over this range (level ${tile.level}) ${what}`
    findings.add('tile-altered', [from, from + width - 1], text)
  }
}

type Marks = {
  /** Judges every checkpoint over at most so many leaves. */
  passed(leaves: number): void
  /** Names every checkpoint over more leaves than there are. */
  end(leaves: number): void
}

/** Stored checkpoints and earlier ones, both by size, each handed to the judge when the walk has come to it. */
function createMarks(source: LogSource, against: readonly Note[], judge: Judge, findings: Findings): Marks {
  const stored = source.checkpoints()[Symbol.iterator]()
  const earlier = against.toSorted((a, b) => b.checkpoint.size - a.checkpoint.size)
  let checkpoint: StoredCheckpoint | undefined = stored.next().value
  return {
    passed(leaves) {
      for (let note = earlier.at(-1); note !== undefined && note.checkpoint.size <= leaves; note = earlier.at(-1)) {
        judge.earlier(note)
        earlier.pop()
      }
      while (checkpoint !== undefined && checkpoint.size <= leaves) {
        judge.checkpoint(checkpoint)
        checkpoint = stored.next().value
      }
    },
    end(leaves) {
      for (const { checkpoint: kept } of earlier.reverse()) {
        const text = `it has ${leaves} leaves, and the earlier checkpoint was made over ${kept.size}: the log was rolled back`
        findings.add('rolled-back', [leaves, kept.size - 1], text)
      }
      let last = leaves
      for (; checkpoint !== undefined; checkpoint = stored.next().value) last = Math.max(last, checkpoint.size)
      if (last > leaves)
        findings.add(
          'cut',
          [leaves, last - 1],
          `${leavesText(leaves, last - 1)}: missing at the end, and a checkpoint covers them`,
        )
    },
  }
}
