import { clipped } from './document.ts'
import type { Spot } from './fault.ts'
import { nearest } from './nearest.ts'
import { noticeSlots } from './notice.ts'

/** What is wrong with the text of an organization's own notice; offsets are into it. */
export function* textFaults(text: string): Generator<Spot> {
  yield* characterFaults(text)
  yield* slotFaults(text)
  yield* addressFaults(text, 0)
  if (!text.includes('{link}')) {
    yield { offset: 0, message: 'nothing here leads to the message', hint: 'write {link} on a line of its own' }
  }
  for (const { index } of text.matchAll(/\{recipients\}/g)) {
    // What follows at once could be read as one of them.
    if (/(?:^|\n)$/.test(text.slice(0, index)) && /^\{recipients\}[ \t]*(?:\n[ \t]*)?(?:\n|$)/.test(text.slice(index)))
      continue
    const hint = 'write {recipients} on a line of its own, at its begin, with an empty line after it: it becomes a list'
    yield { offset: index, message: '{recipients} stands beside other text', hint }
  }
}

/** What no mail can carry as text, and what would turn the order of letters round, of a link's too. */
export function* characterFaults(text: string): Generator<Spot> {
  for (const found of text.matchAll(/[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069\u2028\u2029]|\p{Cs}/gu)) {
    const code = found[0].codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')
    yield {
      offset: found.index,
      message: `the character U+${code}`,
      hint: 'remove it: a notice is plain text and line breaks',
    }
  }
}

/** Braces that are no slot, in text and in HTML. */
export function* slotFaults(text: string): Generator<Spot> {
  for (const found of text.matchAll(/\{([A-Za-z_-]{1,40})\}|[{}]/g)) {
    const [whole, name] = found
    if (name !== undefined && Object.hasOwn(noticeSlots, name)) continue
    const known = Object.keys(noticeSlots)
    const close = name === undefined ? null : nearest(name, known)
    const hint = close === null ? `known: ${known.map((slot) => `{${slot}}`).join(', ')}` : `write {${close}}`
    const message = name === undefined ? `a lone '${whole}'` : `unknown slot '${clipped(whole)}'`
    yield { offset: found.index, message, hint }
  }
}

/** Text that a mail program would make a link of. */
export function* addressFaults(text: string, from: number): Generator<Spot> {
  for (const found of text.matchAll(/[a-z]{2,10}:\/\/|\bwww\.|\bmailto:/gi)) {
    const hint = 'remove it: {link} is the only link of a notice, so that people know a false one'
    yield { offset: from + found.index, message: `a link to elsewhere: '${found[0]}'`, hint }
  }
}
