import { createHash, hash } from 'node:crypto'

/** A SHA-256 value, 32 octets. */
export type Hash = Uint8Array

const LEAF = Buffer.of(0)
const NODE = Buffer.of(1)

/** RFC 6962 2.1: the hash of a leaf's octets. */
export function leafHash(octets: Uint8Array): Hash {
  return hash('sha256', Buffer.concat([LEAF, octets]), 'buffer')
}

/** RFC 6962 2.1: the hash of two subtrees. */
export function nodeHash(left: Hash, right: Hash): Hash {
  return hash('sha256', Buffer.concat([NODE, left, right]), 'buffer')
}

/** The root of the empty tree. */
export function emptyRoot(): Hash {
  return createHash('sha256').digest()
}

/**
 * A compact range from leaf 0: the size, and the roots of the perfect subtrees that its binary digits stand for, largest first.
 * Immutable; {@link append} gives the next one.
 */
export type Frontier = { readonly size: number; readonly nodes: readonly Hash[] }

export const emptyFrontier: Frontier = { size: 0, nodes: [] }

/** The range with the leaf hashes put behind it, in order. */
export function append(frontier: Frontier, leaves: Iterable<Hash>): Frontier {
  const nodes = [...frontier.nodes]
  let size = frontier.size
  for (const leaf of leaves) {
    nodes.push(leaf)
    // Each trailing one-bit of the old size is a perfect subtree as large as the one just finished.
    for (let rest = size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
      const right = nodes.pop()
      const left = nodes.pop()
      if (left === undefined || right === undefined) throw new RangeError('a frontier with too few nodes')
      nodes.push(nodeHash(left, right))
    }
    size++
  }
  return { size, nodes }
}

/** The Merkle tree hash (RFC 6962 2.1) of all leaves in the range. */
export function rootOf(frontier: Frontier): Hash {
  const [last, ...rest] = frontier.nodes.toReversed()
  return last === undefined ? emptyRoot() : rest.reduce((right, left) => nodeHash(left, right), last)
}

/** size(8, big-endian) || nodes, 32 octets each, largest subtree first. */
export function encodeFrontier(frontier: Frontier): Uint8Array {
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(BigInt(frontier.size))
  return Buffer.concat([size, ...frontier.nodes])
}

/** The frontier in `octets`, or null if they are not exactly one. */
export function decodeFrontier(octets: Uint8Array): Frontier | null {
  if (octets.length < 8) return null
  const buffer = Buffer.from(octets)
  const size = Number(buffer.readBigUInt64BE(0))
  if (!Number.isSafeInteger(size) || buffer.length !== 8 + 32 * perfectSubtrees(size).length) return null
  const nodes = perfectSubtrees(size).map((_, i) => buffer.subarray(8 + 32 * i, 40 + 32 * i))
  return { size, nodes }
}

/** The perfect subtrees that a tree of `size` leaves falls into, largest first: `index` counts subtrees of that level from the left. */
export function perfectSubtrees(size: number): readonly { readonly level: number; readonly index: number }[] {
  const subtrees: { level: number; index: number }[] = []
  for (let level = 0, rest = size; rest > 0; level++, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) subtrees.push({ level, index: rest - 1 })
  }
  return subtrees.reverse()
}
