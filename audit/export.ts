import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, sep } from 'node:path'
import { parseNote } from './checkpoint.ts'
import type { LogSource, StoredCheckpoint, StoredLeaf } from './source.ts'
import { UnreadableError } from './source.ts'
import { createTiler, decodeBundle, encodeBundle, parseTilePath, TILE, type Tile, tilePath } from './tiles.ts'
import type { Hash } from './tree.ts'

/**
 * Writes the leaves under a log's last checkpoint as a folder in the layout of C2SP tlog-tiles, with its verifier keys in `keys`; the
 * sealed values beside the leaves stay behind. Hashes are written as they are stored, so that what was tampered with stays visible. Answers the
 * number of leaves. Throws {@link UnreadableError} where `folder` is not empty, there is no checkpoint, or leaves are missing.
 */
export function exportLog(source: LogSource, folder: string): number {
  mkdirSync(folder, { recursive: true })
  if (readdirSync(folder).length > 0) throw new UnreadableError(`${folder} is not empty: name a new folder`)
  const last = [...source.checkpoints()].at(-1)
  if (last === undefined)
    throw new UnreadableError(`${source.log} has no checkpoint yet: there is nothing signed to export`)
  writeTiles(source, folder, last.size)
  write(folder, 'keys', source.keys.map((key) => `${key}\n`).join(''))
  write(folder, 'checkpoint', last.note)
  return last.size
}

/** The log in an exported folder. Throws {@link UnreadableError} where there is none. */
export function openLogFolder(folder: string): LogSource {
  const note = readOrNull(join(folder, 'checkpoint'))?.toString('utf8')
  if (note === undefined)
    throw new UnreadableError(`${folder}: there is no file "checkpoint" in it, so it is not an exported log`)
  const checkpoint = parseNote(note)?.checkpoint
  const bundles = bundlesIn(folder)
  const tile = (level: number, index: number, width: number): readonly Hash[] | null => {
    const octets = readOrNull(join(folder, tilePath(level, index, width)))
    return octets === null ? null : hashesIn(octets)
  }
  const end = bundles.at(-1)
  return {
    log: checkpoint?.origin.split('/log/').at(-1) ?? basename(folder),
    keys: (readOrNull(join(folder, 'keys'))?.toString('utf8') ?? '').split('\n').filter((line) => line !== ''),
    size: end === undefined ? 0 : end.index * TILE + end.width,
    tile,
    *leaves(from = 0): Iterable<StoredLeaf> {
      for (const bundle of bundles) {
        if ((bundle.index + 1) * TILE <= from) continue
        for (const leaf of leavesIn(folder, bundle, tile)) if (leaf.index >= from) yield leaf
      }
    },
    *checkpoints(): Iterable<StoredCheckpoint> {
      yield { size: checkpoint?.size ?? 0, note, frontier: null }
    },
  }
}

type Bundle = { readonly index: number; readonly width: number }

function* leavesIn(
  folder: string,
  { index, width }: Bundle,
  tile: (level: number, index: number, width: number) => readonly Hash[] | null,
): Iterable<StoredLeaf> {
  const octets = readOrNull(join(folder, tilePath('entries', index, width)))
  const hashes = tile(0, index, width)
  // A bundle that can be read only in part shows as missing leaves; more leaves than its name says, as leaves out of place.
  for (const [i, record] of decodeBundle(octets ?? Buffer.alloc(0)).entries()) {
    yield { index: index * TILE + i, record, hash: hashes?.[i] ?? null, side: null }
  }
}

/** The bundles that are there, by index; of several widths of one, the widest. */
function bundlesIn(folder: string): readonly Bundle[] {
  const entries = join(folder, 'tile', 'entries')
  const found = new Map<number, Bundle>()
  for (const path of filesBelow(entries)) {
    const bundle = parseTilePath(path)
    if (bundle !== null && bundle.width > (found.get(bundle.index)?.width ?? 0)) found.set(bundle.index, bundle)
  }
  return [...found.values()].sort((a, b) => a.index - b.index)
}

function filesBelow(folder: string): readonly string[] {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return []
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((path) => path.split(sep).join('/'))
}

function writeTiles(source: LogSource, folder: string, size: number): void {
  const tiler = createTiler()
  let bundle: Uint8Array[] = []
  let next = 0
  for (const leaf of source.leaves()) {
    if (next === size) break
    if (leaf.index !== next)
      throw new UnreadableError(`${source.log}: leaf ${next} is missing; "audit verify" says what else is`)
    bundle.push(leaf.record)
    next++
    if (bundle.length === TILE || next === size) {
      write(folder, tilePath('entries', Math.floor((next - 1) / TILE), bundle.length), encodeBundle(bundle))
      bundle = []
    }
    for (const tile of tiler.push(leaf.hash ?? Buffer.alloc(32))) writeTile(folder, tile)
  }
  if (next < size) throw new UnreadableError(`${source.log}: leaf ${next} is missing; "audit verify" says what else is`)
  for (const tile of tiler.rest()) writeTile(folder, tile)
}

function writeTile(folder: string, { level, index, hashes }: Tile): void {
  write(folder, tilePath(level, index, hashes.length), Buffer.concat(hashes))
}

function write(folder: string, path: string, octets: Uint8Array | string): void {
  const file = join(folder, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, octets, { flag: 'wx' })
}

function hashesIn(octets: Uint8Array): readonly Hash[] {
  return Array.from({ length: Math.floor(octets.length / 32) }, (_, i) => octets.subarray(32 * i, 32 * i + 32))
}

function readOrNull(file: string): Buffer | null {
  try {
    return readFileSync(file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw new UnreadableError(`${file}: cannot be read (${code ?? 'unknown'})`)
  }
}
