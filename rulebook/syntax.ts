import { parse } from '@bufbuild/cel'
import type { ParsedCondition } from './condition.ts'
import type { Spot } from './fault.ts'

/** A condition's syntax tree, or what is wrong with its text; offsets are into that text. */
export type Syntax =
  | { readonly kind: 'tree'; readonly tree: ParsedCondition }
  | { readonly kind: 'broken'; readonly spot: Spot }

export function syntaxOf(text: string): Syntax {
  try {
    return { kind: 'tree', tree: parse(text) }
  } catch (error) {
    return { kind: 'broken', spot: likelyCause(text) ?? whereItStopped(text, error) }
  }
}

/** The parser says where it gave up, which is often far from what a person did wrong: so the usual slips are looked for first. */
function likelyCause(text: string): Spot | null {
  if (text.trim() === '') return { offset: 0, message: 'the condition is empty', hint: 'write true for always' }
  const open: { readonly bracket: string; readonly offset: number }[] = []
  for (let at = 0; at < text.length; at++) {
    const slip = slipAt(text, at)
    if (slip) return { offset: at, ...slip }
    const character = text[at] ?? ''
    if (character === "'" || character === '"') {
      const end = endOfText(text, at)
      if (end === null) return { offset: at, message: 'a text that does not end', hint: `close it with ${character}` }
      at = end
    } else if (character === '/' && text[at + 1] === '/') {
      const end = text.indexOf('\n', at)
      at = end < 0 ? text.length : end
    } else if ('([{'.includes(character)) open.push({ bracket: character, offset: at })
    else if (')]}'.includes(character) && closes[open.pop()?.bracket ?? ''] !== character) {
      return { offset: at, message: `'${character}' closes nothing`, hint: 'remove it, or open it before' }
    }
  }
  const left = open.at(-1)
  return left
    ? {
        offset: left.offset,
        message: `'${left.bracket}' is not closed`,
        hint: `add '${closes[left.bracket]}' where it ends`,
      }
    : null
}

const closes: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' }

const slips: readonly { readonly pattern: RegExp; readonly message: string; readonly hint: string }[] = [
  {
    pattern: /[\u2018\u2019\u201c\u201d\u201e]/y,
    message: 'a typographic quote',
    hint: "write a plain ' on both sides",
  },
  { pattern: /(?<![\w.])and\b/iy, message: "'and' is not known here", hint: "write '&&'" },
  { pattern: /(?<![\w.])or\b/iy, message: "'or' is not known here", hint: "write '||'" },
  {
    pattern: /(?<![\w.])not\b/iy,
    message: "'not' is not known here",
    hint: "write '!' before what is negated, with brackets around it",
  },
  { pattern: /(?<![=!<>])=(?!=)/y, message: "'=' does not compare", hint: "write '=='" },
  { pattern: /<>/y, message: "'<>' is not known here", hint: "write '!='" },
  { pattern: /(?<!&)&(?!&)/y, message: "a single '&'", hint: "write '&&'" },
  { pattern: /(?<!\|)\|(?!\|)/y, message: "a single '|'", hint: "write '||'" },
  { pattern: /;/y, message: "';' is not known here", hint: 'one condition is one expression; join two with && or ||' },
]

function slipAt(text: string, at: number): { readonly message: string; readonly hint: string } | null {
  for (const { pattern, message, hint } of slips) {
    pattern.lastIndex = at
    if (pattern.test(text)) return { message, hint }
  }
  return null
}

/** Where the text that opens at `from` closes, or null. Triple quotes and raw texts (r'...') included. */
function endOfText(text: string, from: number): number | null {
  const quote = text[from] ?? ''
  const triple = text.startsWith(quote.repeat(3), from)
  const raw = /(?<![\w.])[bB]?[rR][bB]?$/.test(text.slice(Math.max(0, from - 3), from))
  const close = triple ? quote.repeat(3) : quote
  for (let at = from + close.length; at < text.length; at++) {
    if (text[at] === '\\' && !raw) at++
    else if (text[at] === '\n' && !triple) return null
    else if (text.startsWith(close, at)) return at + close.length - 1
  }
  return null
}

function whereItStopped(text: string, error: unknown): Spot {
  if (error instanceof RangeError)
    return { offset: 0, message: 'the condition is nested too deeply', hint: 'split the rule' }
  const offset = stoppedAt(error)
  const word = /^[\w]+/.exec(text.slice(offset))?.[0]
  if (error instanceof Error && error.message.includes('reserved')) {
    return { offset, message: `'${word ?? ''}' is a reserved word`, hint: 'use another name' }
  }
  const rest = text.slice(offset).trim()
  const message = rest === '' ? 'the condition ends too early' : `not readable from '${word ?? rest.slice(0, 12)}' on`
  return { offset, message, hint: "look for a missing && or ||, comma, quote or bracket; texts stand in 'quotes'" }
}

/** The parser's errors carry `location.start.offset`, which its types do not say. */
function stoppedAt(error: unknown): number {
  const location = (error as { readonly location?: { readonly start?: { readonly offset?: unknown } } }).location
  const offset = location?.start?.offset
  return typeof offset === 'number' ? offset : 0
}
