import { isAlias, isMap, isScalar, isSeq, type Node, parseDocument, type Scalar } from 'yaml'
import { bounds } from './bounds.ts'
import type { Spot } from './fault.ts'
import { tooDeepAt } from './nesting.ts'

/** A value of a policy file, with the places of itself and, in a map, of its keys. Offsets are into the file's text. */
export type Tree =
  | {
      readonly kind: 'leaf'
      readonly value: string | number | boolean | null
      readonly node: Scalar
      readonly offset: number
    }
  | { readonly kind: 'list'; readonly items: readonly Tree[]; readonly offset: number }
  | { readonly kind: 'map'; readonly entries: ReadonlyMap<string, Entry>; readonly offset: number }

export type Entry = { readonly keyOffset: number; readonly value: Tree }

export type Read =
  | { readonly kind: 'read'; readonly tree: Tree }
  | { readonly kind: 'unreadable'; readonly spots: readonly Spot[] }

/**
 * The YAML of a policy file: version 1.2, core schema, one document, text keys, no anchors, aliases, tags or merge keys, no key
 * twice in a map. Never throws, whatever the text holds; time is linear in its length, which is bounded.
 */
export function readDocument(text: string): Read {
  if (text.length > bounds.fileCharacters) {
    const message = `the file has ${text.length} characters; at most ${bounds.fileCharacters} are read`
    return unreadable([{ offset: 0, message, hint: 'shorten the file' }])
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  const control = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.exec(text)
  if (control) {
    return unreadable([{ offset: control.index, message: 'a control character', hint: 'remove it' }])
  }
  const deep = tooDeepAt(text)
  if (deep !== null) {
    return unreadable([{ offset: deep, message: 'lists and maps are nested too deeply', hint: 'write a flatter file' }])
  }
  try {
    return compose(text)
  } catch (error) {
    // The YAML library recurses: what nests by indentation alone could still end its stack.
    if (!(error instanceof RangeError)) throw error
    return unreadable([{ offset: 0, message: 'lists and maps are nested too deeply', hint: 'write a flatter file' }])
  }
}

function compose(text: string): Read {
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    merge: false,
    // Looked for below: the library compares every key with every other.
    uniqueKeys: false,
    prettyErrors: false,
    // 'silent' would also hide that the file holds more than one document.
    logLevel: 'error',
    keepSourceTokens: true,
  })
  // What follows on the same line is mostly the first slip once more.
  const lines = new Set<number>()
  const first = [...document.errors, ...document.warnings].filter((error) => {
    const line = text.lastIndexOf('\n', error.pos[0] - 1)
    return !lines.has(line) && lines.add(line)
  })
  const spots = first.map((error) => ({
    offset: error.pos[0],
    message: `not readable as YAML: ${error.message}`,
    hint: hints[error.code] ?? 'compare with policies/acme.example.yaml: the same indentation, two blanks a level',
  }))
  if (spots.length > 0) return unreadable(spots)
  const faults: Spot[] = []
  const tree = treeOf(document.contents, 0, 0, faults)
  return faults.length > 0 || tree === null ? unreadable(faults) : { kind: 'read', tree }
}

const hints: Readonly<Partial<Record<string, string>>> = {
  TAB_AS_INDENT: 'indent with blanks, not with tabs',
  BAD_INDENT: 'give entries of one list or map the same indentation',
  MULTIPLE_DOCS: 'one file holds one policy: remove the line ---',
  BAD_ALIAS: "put the text in quotes: '*' and '&' have a meaning of their own in YAML",
  MISSING_CHAR: 'look for a quote or bracket that is not closed, or a colon without a blank after it',
  BLOCK_AS_IMPLICIT_KEY: 'put the text in quotes: it holds a colon followed by a blank',
}

function treeOf(node: unknown, depth: number, from: number, faults: Spot[]): Tree | null {
  if (isAlias(node)) return fault(node, 'aliases (*name) are not read', 'write the value out', faults)
  if (isScalar(node) || isMap(node) || isSeq(node)) {
    if (node.anchor !== undefined) return fault(node, 'anchors (&name) are not read', 'write the value out', faults)
    if (node.tag !== undefined) return fault(node, 'tags (!name) are not read', 'remove it', faults)
    if (depth > bounds.yamlDepth) return fault(node, 'nested too deeply', 'write a flatter file', faults)
  }
  if (isScalar(node)) return leafOf(node, faults)
  if (isSeq(node)) {
    const items = node.items.map((item) => treeOf(item, depth + 1, offsetOf(node), faults))
    return { kind: 'list', items: items.filter((item) => item !== null), offset: offsetOf(node) }
  }
  if (isMap(node)) return mapOf(node, depth, faults)
  faults.push({ offset: from, message: 'nothing stands here', hint: 'start from policies/acme.example.yaml' })
  return null
}

function leafOf(node: Scalar, faults: Spot[]): Tree | null {
  const { value } = node
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
    return { kind: 'leaf', value, node, offset: offsetOf(node) }
  }
  return fault(node, 'a value of an unknown kind', 'put it in quotes', faults)
}

function mapOf(
  map: Node & { items: readonly { key: unknown; value: unknown }[] },
  depth: number,
  faults: Spot[],
): Tree {
  const entries = new Map<string, Entry>()
  for (const { key, value } of map.items) {
    if (!isScalar(key) || typeof key.value !== 'string' || key.anchor !== undefined) {
      fault(key, 'a key that is not plain text', 'write a field name, or put it in quotes', faults, offsetOf(map))
      continue
    }
    const keyOffset = offsetOf(key)
    if (entries.has(key.value)) {
      fault(key, `'${clipped(key.value)}' stands twice in the same place`, 'keep one of the two', faults)
      continue
    }
    if (value === null || value === undefined || (isScalar(value) && value.value === null)) {
      fault(key, `'${clipped(key.value)}' has no value`, 'write one after the colon, or remove the line', faults)
      continue
    }
    const tree = treeOf(value, depth + 1, keyOffset, faults)
    if (tree) entries.set(key.value, { keyOffset, value: tree })
  }
  return { kind: 'map', entries, offset: offsetOf(map) }
}

function fault(node: unknown, message: string, hint: string, faults: Spot[], otherwise = 0): null {
  const ranged = isAlias(node) || isScalar(node) || isMap(node) || isSeq(node)
  faults.push({ offset: ranged ? offsetOf(node) : otherwise, message, hint })
  return null
}

function offsetOf(node: Node): number {
  return node.range?.[0] ?? 0
}

function unreadable(spots: readonly Spot[]): Read {
  return { kind: 'unreadable', spots }
}

/** Text from a file as it can stand in a message: short, on one line. */
export function clipped(text: string): string {
  const line = text.replace(/\s+/g, ' ')
  return line.length > 60 ? `${line.slice(0, 57)}...` : line
}

/** The tree as plain values, for the schema. Maps become objects without a prototype. */
export function plainOf(tree: Tree): unknown {
  if (tree.kind === 'leaf') return tree.value
  if (tree.kind === 'list') return tree.items.map(plainOf)
  const plain: Record<string, unknown> = Object.create(null)
  for (const [key, entry] of tree.entries) plain[key] = plainOf(entry.value)
  return plain
}

/** The subtree at a path of keys and indices; the deepest one there is. */
export function treeAt(tree: Tree, path: readonly string[]): Tree {
  let at = tree
  for (const step of path) {
    const next =
      at.kind === 'map' ? at.entries.get(step)?.value : at.kind === 'list' ? at.items[Number(step)] : undefined
    if (!next) return at
    at = next
  }
  return at
}
