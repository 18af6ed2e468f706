import { type Findings, leavesText } from './fault.ts'
import { sideHash } from './personal.ts'
import { same } from './proof.ts'
import { decodeLeaf } from './record.ts'
import { createRules, type Rules } from './rules.ts'
import type { LogSource, StoredLeaf } from './source.ts'
import { createTiler, TILE, type Tile } from './tiles.ts'
import type { Hash } from './tree.ts'

/** Looks at one leaf after the other. */
export type Look = { at(leaf: StoredLeaf, hash: Hash): void; lose(): void; finish(): void }

/** What can be seen of a leaf without its neighbours, the order of the records, and the stored tiles above them. */
export function createLook(source: LogSource, findings: Findings): Look {
  const rules: Rules = createRules()
  const tiles = source.tile === undefined ? null : createTiler()
  function look(leaf: StoredLeaf, hash: Hash): void {
    const at = [leaf.index, leaf.index] as const
    const disowned = leaf.hash !== null && !same(hash, leaf.hash)
    const decoded = disowned ? null : decodeLeaf(leaf.record)
    if (decoded?.kind !== 'leaf') {
      // What its own stored hash disowns is named by the judge; neither is a record to draw conclusions from.
      if (decoded !== null) findings.add('record-malformed', at, `leaf ${leaf.index}: not a record: ${decoded.reason}`)
      rules.lose()
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
      look(leaf, hash)
    },
    lose: () => rules.lose(),
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
