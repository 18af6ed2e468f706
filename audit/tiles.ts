import { type Hash, nodeHash } from './tree.ts'

/** Leaves in a full tile, and hashes in one (C2SP tlog-tiles: height 8). */
export const TILE = 256

/** A run of hashes: each is the root of 256^level leaves, the first of them the (index * 256)-th of its level. */
export type Tile = { readonly level: number; readonly index: number; readonly hashes: readonly Hash[] }

/** Cuts a log into tiles as its leaf hashes come, in order. */
export type Tiler = {
  /** The tiles that this leaf has filled: none, or one of level 0 and perhaps some above it. */
  push(leaf: Hash): readonly Tile[]
  /** The tiles that are begun and not full. */
  rest(): readonly Tile[]
}

export function createTiler(): Tiler {
  const levels: { index: number; hashes: Hash[] }[] = []
  function pushAt(level: number, hash: Hash): readonly Tile[] {
    const open = levels[level] ?? { index: 0, hashes: [] }
    levels[level] = open
    open.hashes.push(hash)
    if (open.hashes.length < TILE) return []
    const tile = { level, index: open.index, hashes: open.hashes }
    levels[level] = { index: open.index + 1, hashes: [] }
    return [tile, ...pushAt(level + 1, perfectRoot(tile.hashes))]
  }
  return {
    push: (leaf) => pushAt(0, leaf),
    rest: () => levels.flatMap(({ index, hashes }, level) => (hashes.length === 0 ? [] : [{ level, index, hashes }])),
  }
}

/** `tile/<level>/<index>` with the index in groups of three digits, and `.p/<width>` where the tile is not full. */
export function tilePath(level: number | 'entries', index: number, width: number): string {
  const digits = String(index)
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g) ?? []
  const path = groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/')
  return `tile/${level}/${path}${width === TILE ? '' : `.p/${width}`}`
}

/** The index and width that a path below `tile/<level>/` names, or null. */
export function parseTilePath(path: string): { readonly index: number; readonly width: number } | null {
  const found = /^((?:x\d{3}\/)*\d{3})(?:\.p\/([1-9]\d{0,2}))?$/.exec(path)
  if (found?.[1] === undefined) return null
  const width = found[2] === undefined ? TILE : Number(found[2])
  return width > TILE ? null : { index: Number(found[1].replaceAll(/[x/]/g, '')), width }
}

/** An entry bundle: each leaf behind its length, 2 octets, big-endian. */
export function encodeBundle(leaves: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(
    leaves.flatMap((leaf) => {
      const length = Buffer.alloc(2)
      length.writeUInt16BE(leaf.length)
      return [length, leaf]
    }),
  )
}

/** The leaves of an entry bundle, as far as it can be read. */
export function decodeBundle(octets: Uint8Array): readonly Uint8Array[] {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.length)
  const leaves: Uint8Array[] = []
  for (let at = 0; at + 2 <= octets.length; ) {
    const end = at + 2 + view.getUint16(at)
    if (end > octets.length) break
    leaves.push(octets.subarray(at + 2, end))
    at = end
  }
  return leaves
}

function perfectRoot(hashes: readonly Hash[]): Hash {
  const [first, second, ...rest] = hashes
  if (first === undefined) throw new RangeError('a tile without hashes')
  if (second === undefined) return first
  if (rest.length === 0) return nodeHash(first, second)
  const middle = hashes.length / 2
  return nodeHash(perfectRoot(hashes.slice(0, middle)), perfectRoot(hashes.slice(middle)))
}
