import { emptyRoot, type Hash, nodeHash } from './tree.ts'

/** The root of the perfect subtree of 2^level leaves that is the index-th of its level, counted from the left. */
export type Nodes = (level: number, index: number) => Hash

/** All perfect subtrees over these leaf hashes, for proofs out of memory. */
export function nodesOver(leaves: readonly Hash[]): Nodes {
  const levels: Hash[][] = [[...leaves]]
  for (let below = levels[0] ?? []; below.length > 1; ) {
    const level: Hash[] = []
    for (let i = 0; i + 1 < below.length; i += 2) level.push(nodeHash(at(below, i), at(below, i + 1)))
    levels.push(level)
    below = level
  }
  return (level, index) => at(levels[level] ?? [], index)
}

/** RFC 6962 2.1.1: the audit path of leaf `index` in the tree of `size` leaves, nearest sibling first. */
export function inclusionProof(nodes: Nodes, index: number, size: number): readonly Hash[] {
  if (index < 0 || index >= size) throw new RangeError('no such leaf')
  return path(nodes, index, 0, size)
}

/** RFC 6962 2.1.2: the proof that the first `older` leaves of the tree of `newer` leaves are the tree that it was. */
export function consistencyProof(nodes: Nodes, older: number, newer: number): readonly Hash[] {
  if (older < 0 || older > newer) throw new RangeError('no such tree')
  return older === 0 || older === newer ? [] : subproof(nodes, older, 0, newer, true)
}

/** RFC 9162 2.1.3.2. */
export function verifyInclusion(proof: readonly Hash[], index: number, size: number, leaf: Hash, root: Hash): boolean {
  if (!Number.isSafeInteger(index) || index < 0 || index >= size) return false
  let fn = index
  let sn = size - 1
  let hash = leaf
  for (const sibling of proof) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      hash = nodeHash(sibling, hash)
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      hash = nodeHash(hash, sibling)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && same(hash, root)
}

/** RFC 9162 2.1.4.2; a tree of no leaves is consistent with every other. */
export function verifyConsistency(
  proof: readonly Hash[],
  older: number,
  newer: number,
  olderRoot: Hash,
  newerRoot: Hash,
): boolean {
  if (older < 0 || older > newer) return false
  if (older === newer) return proof.length === 0 && same(olderRoot, newerRoot)
  if (older === 0) return proof.length === 0 && same(olderRoot, emptyRoot())
  let [fn, sn] = [older - 1, newer - 1]
  while (fn % 2 === 1) [fn, sn] = [half(fn), half(sn)]
  const [first, ...rest] = fn === 0 ? [olderRoot, ...proof] : proof
  if (first === undefined) return false
  let [fr, sr] = [first, first]
  for (const sibling of rest) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      fr = nodeHash(sibling, fr)
      sr = nodeHash(sibling, sr)
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      sr = nodeHash(sr, sibling)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && same(fr, olderRoot) && same(sr, newerRoot)
}

/** Whether two hashes are the same octets. Not for secrets. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

function path(nodes: Nodes, index: number, from: number, to: number): readonly Hash[] {
  if (to - from === 1) return []
  const middle = from + split(to - from)
  return index < middle
    ? [...path(nodes, index, from, middle), subtreeRoot(nodes, middle, to)]
    : [...path(nodes, index, middle, to), subtreeRoot(nodes, from, middle)]
}

function subproof(nodes: Nodes, older: number, from: number, to: number, whole: boolean): readonly Hash[] {
  if (older === to) return whole ? [] : [subtreeRoot(nodes, from, to)]
  const middle = from + split(to - from)
  return older <= middle
    ? [...subproof(nodes, older, from, middle, whole), subtreeRoot(nodes, middle, to)]
    : [...subproof(nodes, older, middle, to, false), subtreeRoot(nodes, from, middle)]
}

/** The root over leaves from..to, where `from` is a multiple of the largest power of two below the width. */
function subtreeRoot(nodes: Nodes, from: number, to: number): Hash {
  const width = to - from
  const level = Math.log2(width)
  if (Number.isInteger(level)) return nodes(level, from / width)
  const middle = from + split(width)
  return nodeHash(subtreeRoot(nodes, from, middle), subtreeRoot(nodes, middle, to))
}

/** The largest power of two smaller than `width`. */
function split(width: number): number {
  let power = 1
  while (power * 2 < width) power *= 2
  return power
}

const half = (n: number): number => Math.floor(n / 2)

function at(hashes: readonly Hash[], index: number): Hash {
  const hash = hashes[index]
  if (hash === undefined) throw new RangeError('no such node')
  return hash
}
