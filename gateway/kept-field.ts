import { encodedWords } from './encoded-word.ts'
import type { HeaderField } from './header.ts'
import type { Shape } from './header-table.ts'
import { addressWords, listedAddresses } from './listed-address.ts'

/** Longest line of a message without its CRLF (RFC 5322 2.1.1). */
const LINE_LIMIT = 998
/** Where lines written here are folded. */
const FOLD_AT = 76
/** A word that is longer than this cannot be folded and is not kept. */
const WORD_LIMIT = 900

// Name, colon, then lines of printable ASCII; a folded line is never blank.
const KEEPABLE = /^[!-9;-~]+:[\t -~]*(?:\r\n[\t ]+[!-~][\t -~]*)*\r\n$/

/**
 * The field as it goes on the outgoing mail, with its CRLF: its own octets where they are ASCII in lines of up to 998 octets, else written
 * anew in that form. The only characters above 127 are those of addresses that ASCII cannot carry. Null where nothing of it can be kept.
 */
export function keptField(field: HeaderField, shape: Shape): string | null {
  const raw = Buffer.from(field.raw.buffer, field.raw.byteOffset, field.raw.length).toString('latin1')
  if (KEEPABLE.test(raw) && field.value !== '' && !hasLongLine(raw)) return raw
  return writeField(field.name, wordsOf(field.value, shape))
}

/** A field from its words, folded; null without a word. */
export function writeField(name: string, words: readonly string[]): string | null {
  let text = `${name}:`
  let column = text.length
  let written = 0
  for (const word of words) {
    if (word === '') continue
    if (column + 1 + word.length > FOLD_AT && written > 0) {
      text += '\r\n'
      column = 0
    }
    text += ` ${word}`
    column += 1 + word.length
    written++
  }
  return written === 0 ? null : `${text}\r\n`
}

/** The words of a text for a person, RFC 2047 where it holds more than printable ASCII. */
export function textWords(value: string): string[] {
  const text = spaced(value)
  const words = text.split(' ')
  if (isPlain(text) && words.every((word) => word.length <= WORD_LIMIT)) return words
  return encodedWords(text)
}

function wordsOf(value: string, shape: Shape): string[] {
  if (shape === 'text') return textWords(value)
  if (shape === 'addresses') return addressWords(listedAddresses(spaced(value)))
  const words = spaced(value).split(' ')
  return words.map((word) => word.replace(/[^\x21-\x7e]/g, '?')).filter((word) => word.length <= WORD_LIMIT)
}

/** On one line, without control characters. */
function spaced(value: string): string {
  return value.replace(/[\p{Cc}\s]+/gu, ' ').trim()
}

function isPlain(text: string): boolean {
  return !/[^\x20-\x7e]/.test(text)
}

function hasLongLine(raw: string): boolean {
  if (raw.length <= LINE_LIMIT + 2) return false
  return raw.split('\r\n').some((line) => line.length > LINE_LIMIT)
}
