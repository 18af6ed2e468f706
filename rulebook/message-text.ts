import { bounds } from './bounds.ts'
import { countCardNumbers } from './card-number.ts'
import { countIbans } from './iban.ts'
import { matches } from './pattern.ts'

/** The text of one message, its body and its text attachments, with the answers that rules have had of it: the same for every recipient. */
export type MessageText = {
  readonly characters: number
  /** Payment card numbers in it. */
  readonly cardNumbers: number
  /** International bank account numbers in it. */
  readonly ibans: number
  /**
   * Whether the pattern (RE2) is found. A text beyond `bounds.windowCharacters` is looked through piece by piece, cut at line ends where there are any:
   * what matches is found if it is no longer than `bounds.overlapCharacters`. Throws if the pattern is none.
   */
  matches(pattern: string): boolean
  /** Letter by letter. */
  contains(text: string): boolean
  /** Looks for these patterns now, so that asking later takes no time; `pause` is awaited between pieces, and may reject to stop. */
  prepare(patterns: readonly string[], pause: () => Promise<void>): Promise<void>
}

/** Line ends become LF, all spaces one kind of space, and letters that nobody sees go. */
export function createMessageText(raw: string): MessageText {
  const text = raw
    .replaceAll('\r\n', '\n')
    .replace(/\p{Default_Ignorable_Code_Point}/gu, '')
    .replace(/[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/g, ' ')
  const answers = new Map<string, boolean>()
  let cardNumbers: number | null = null
  let ibans: number | null = null

  function* lookFor(pattern: string): Generator<void, boolean> {
    for (const piece of piecesOf(text)) {
      if (matches(piece, pattern, bounds.windowCharacters)) return true
      yield
    }
    return false
  }

  return {
    characters: text.length,
    get cardNumbers() {
      cardNumbers ??= countCardNumbers(text)
      return cardNumbers
    },
    get ibans() {
      ibans ??= countIbans(text)
      return ibans
    },
    matches(pattern) {
      const known = answers.get(pattern)
      if (known !== undefined) return known
      const search = lookFor(pattern)
      let step = search.next()
      while (step.done !== true) step = search.next()
      answers.set(pattern, step.value)
      return step.value
    },
    contains: (sought) => text.includes(sought),
    async prepare(patterns, pause) {
      for (const pattern of patterns) {
        if (answers.has(pattern)) continue
        const search = lookFor(pattern)
        let step = search.next()
        while (step.done !== true) {
          await pause()
          step = search.next()
        }
        answers.set(pattern, step.value)
      }
    },
  }
}

function* piecesOf(text: string): Generator<string> {
  const { windowCharacters: most, overlapCharacters: overlap } = bounds
  let from = 0
  while (text.length - from > most) {
    const line = text.lastIndexOf('\n', from + most - 1)
    const to = line < from + most - overlap ? from + most : line + 1
    yield text.slice(from, to)
    const next = text.indexOf('\n', to - overlap)
    from = next === -1 || next + 1 >= to ? to - overlap : next + 1
  }
  yield text.slice(from)
}
