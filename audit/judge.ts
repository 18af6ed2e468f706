import { type Note, parseNote, type VerifierKey, verifyNote } from './checkpoint.ts'
import { type Findings, leavesText } from './fault.ts'
import { same } from './proof.ts'
import type { StoredCheckpoint } from './source.ts'
import { append, decodeFrontier, emptyFrontier, type Frontier, type Hash, perfectSubtrees, rootOf } from './tree.ts'

/**
 * The tree while a log is walked: once over the records as they are, and, from the first record that its stored hash disowns, once more over
 * the stored hashes, to tell which of the two was altered. Lost (null) after a gap, until a checkpoint's own frontier finds it again.
 */
export type Judge = {
  /** The next leaf: the hash of its record, and the stored one. */
  leaf(index: number, computed: Hash, stored: Hash): void
  /** The leaves up to here cannot be put together. */
  lose(): void
  /** A checkpoint filed under the number of leaves walked so far. */
  checkpoint(stored: StoredCheckpoint): void
  /** An earlier checkpoint that was kept elsewhere, over the number of leaves walked so far. */
  earlier(note: Note): void
  /** The end of the log: says what no checkpoint has settled. */
  finish(): { readonly covered: number; readonly checkpoints: number; readonly root: Hash | null }
}

export function createJudge(keys: readonly VerifierKey[], findings: Findings): Judge {
  const tree = createDoubleTree()
  let good: { readonly size: number; readonly root: Hash | null } = { size: 0, root: null }
  let checkpoints = 0
  let altered: number[] = []

  /** Names each altered leaf, as well as the checkpoint can tell what was altered. */
  function nameAltered(which: string): void {
    for (const index of altered) findings.add('leaf-altered', [index, index], `leaf ${index}: ${which}`)
    altered = []
  }

  function judgeRoot({ size, root }: Note['checkpoint'], frontier: Frontier | null): void {
    const fits = tree.fits(root)
    if (fits === 'records') nameAltered('its stored hash was altered; the record is the one that was signed')
    else if (fits === 'hashes') nameAltered('its record was altered; the stored hash is the one that was signed')
    else if (fits === 'neither') nameDiffering(size, frontier)
    else nameAltered('its record or its stored hash was altered')
    if (fits === 'records' || fits === 'hashes') tree.settle(fits)
    else if (frontier !== null) tree.restart(frontier) // Its root is the signed one: the walk can go on from here.
    if (fits === 'records') good = { size, root }
    else if (fits === 'hashes' || frontier !== null) good = { ...good, size }
  }

  function nameDiffering(size: number, frontier: Frontier | null): void {
    nameAltered('its record or its stored hash was altered')
    for (const [from, to] of tree.differing(good.size, size, frontier)) {
      const text = `${leavesText(from, to)}: something in this range was altered, exchanged or put in; the checkpoint over ${size} leaves was signed over others`
      findings.add('root-differs', [from, to], text)
    }
    tree.lose()
  }

  return {
    leaf(index, computed, stored) {
      if (!same(computed, stored)) altered.push(index)
      tree.push(computed, stored)
    },
    lose: () => tree.lose(),
    checkpoint(stored) {
      checkpoints++
      const note = parseNote(stored.note)
      if (note === null || note.checkpoint.size !== stored.size) {
        return findings.add('checkpoint-malformed', null, `the checkpoint filed under ${stored.size} leaves is not one`)
      }
      if (!verifyNote(note, keys)) {
        const text = `the checkpoint over ${stored.size} leaves is not signed by the log's key`
        return findings.add('checkpoint-unsigned', null, text)
      }
      const frontier = stored.frontier === null ? null : frontierOf(stored.frontier, note)
      if (stored.frontier !== null && frontier === null) {
        findings.add(
          'checkpoint-altered',
          null,
          `the frontier beside the checkpoint over ${stored.size} leaves is not that of its root`,
        )
      }
      judgeRoot(note.checkpoint, frontier)
    },
    earlier(note) {
      const { size, root } = note.checkpoint
      const fits = tree.fits(root)
      if (fits === 'lost') {
        const text = `the earlier checkpoint over ${size} leaves could not be compared: leaves before it are missing or altered`
        findings.add('earlier-checkpoint-unusable', null, text)
      } else if (fits === 'neither') {
        const text = `the first ${size} leaves are not those of the earlier checkpoint: the log was rewritten after it`
        findings.add('rewritten', size === 0 ? null : [0, size - 1], text)
      }
    },
    finish() {
      nameAltered('its record or its stored hash was altered')
      return { covered: good.size, checkpoints, root: good.root }
    },
  }
}

function frontierOf(octets: Uint8Array, { checkpoint }: Note): Frontier | null {
  const frontier = decodeFrontier(octets)
  return frontier?.size === checkpoint.size && same(rootOf(frontier), checkpoint.root) ? frontier : null
}

type DoubleTree = {
  push(computed: Hash, stored: Hash): void
  /** Which of the two trees has this root; `lost` if there is none to ask. */
  fits(root: Hash): 'records' | 'hashes' | 'neither' | 'lost'
  settle(side: 'records' | 'hashes'): void
  lose(): void
  restart(frontier: Frontier): void
  /** Ranges within from..to-1 whose hashes differ from the frontier's; the whole of it where that cannot tell. */
  differing(from: number, to: number, frontier: Frontier | null): readonly (readonly [number, number])[]
}

function createDoubleTree(): DoubleTree {
  let records: Frontier | null = emptyFrontier
  let hashes: Frontier | null = null
  let waiting: { readonly computed: Hash; readonly stored: Hash }[] = []

  function flush(): void {
    if (records !== null && waiting.length > 0) {
      const forks = hashes !== null || waiting.some(({ computed, stored }) => !same(computed, stored))
      if (forks)
        hashes = append(
          hashes ?? records,
          waiting.map(({ stored }) => stored),
        )
      records = append(
        records,
        waiting.map(({ computed }) => computed),
      )
    }
    waiting = []
  }

  return {
    push(computed, stored) {
      if (records === null) return
      waiting.push({ computed, stored })
      if (waiting.length >= 4096) flush()
    },
    fits(root) {
      flush()
      if (records === null) return 'lost'
      if (same(rootOf(records), root)) return 'records'
      return hashes !== null && same(rootOf(hashes), root) ? 'hashes' : 'neither'
    },
    settle(side) {
      if (side === 'hashes') records = hashes
      hashes = null
    },
    lose() {
      flush()
      records = null
      hashes = null
    },
    restart(frontier) {
      waiting = []
      records = frontier
      hashes = null
    },
    differing(from, to, frontier) {
      const whole = [[Math.min(from, to - 1), to - 1]] as const
      if (records === null || frontier === null || records.size !== frontier.size) return whole
      const ranges = perfectSubtrees(to).flatMap(({ level, index }, i) => {
        const [ours, theirs] = [records?.nodes[i], frontier.nodes[i]]
        const start = Math.max(from, index * 2 ** level)
        const end = (index + 1) * 2 ** level - 1
        const differs = ours !== undefined && theirs !== undefined && !same(ours, theirs)
        return differs && start <= end ? [[start, end] as const] : []
      })
      return ranges.length > 0 ? ranges : whole
    },
  }
}
