import type { Scalar } from 'yaml'

/**
 * Where each character of a YAML text stands in its file: a function from an offset in the value to an offset in the file's text. Right in
 * plain, quoted and block scalars, folded ones too: what folding changes is white space, so the other characters are counted.
 */
export function placesIn(node: Scalar, file: string): (offset: number) => number {
  const value = String(node.value)
  const spots = inkOf(node, file)
  return (offset) => {
    let at = offset
    while (at < value.length && isBlank(value[at])) at++
    let inked = 0
    for (let i = 0; i < at; i++) if (!isBlank(value[i])) inked++
    const last = spots.at(-1)
    return spots[inked] ?? (last === undefined ? (node.range?.[0] ?? 0) : last + 1)
  }
}

/** The file offset of each character of the value that is not white space, in order. */
function inkOf(node: Scalar, file: string): number[] {
  const [start, end] = node.range ?? [0, 0]
  if (node.type === 'QUOTE_DOUBLE') return inkOfDouble(file, start + 1, end - 1)
  const spots: number[] = []
  const single = node.type === 'QUOTE_SINGLE'
  const block = node.type === 'BLOCK_LITERAL' || node.type === 'BLOCK_FOLDED'
  const from = block ? file.indexOf('\n', start) + 1 : single ? start + 1 : start
  const to = single ? end - 1 : end
  for (let at = from; at < to; at++) {
    if (isBlank(file[at])) continue
    spots.push(at)
    if (single && file[at] === "'") at++
  }
  return spots
}

const ESCAPED_BLANKS = 'nrtNLP_ \t\n\r'
const ESCAPE_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 }

function inkOfDouble(file: string, from: number, to: number): number[] {
  const spots: number[] = []
  for (let at = from; at < to; at++) {
    if (isBlank(file[at])) continue
    if (file[at] !== '\\') {
      spots.push(at)
      continue
    }
    const letter = file[at + 1] ?? ''
    const digits = ESCAPE_DIGITS[letter] ?? 0
    const code = digits > 0 ? Number.parseInt(file.slice(at + 2, at + 2 + digits), 16) : 0
    const blank =
      digits > 0 ? isBlank(String.fromCodePoint(Math.min(code || 0, 0x10ffff))) : ESCAPED_BLANKS.includes(letter)
    if (!blank) spots.push(at)
    if (!blank && code > 0xffff) spots.push(at)
    at += 1 + digits
  }
  return spots
}

function isBlank(character: string | undefined): boolean {
  return character === undefined || /\s/.test(character)
}
