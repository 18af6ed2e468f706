import { domainToASCII } from 'node:url'
import parse from 'nodemailer/lib/addressparser'
import { encodedWords } from './encoded-word.ts'

/** One mailbox of an address field: the display name as given (RFC 2047 words stay), the address as given. */
export type Listed = { readonly name: string; readonly address: string }

const LIMIT = 2000
/** Characters of a field that are read: room for a thousand recipients with their names. */
const VALUE_LIMIT = 200_000
/** RFC 1035 2.3.4, as text. */
const DOMAIN_LIMIT = 253
/** A longer display name is left out. */
const NAME_LIMIT = 500
// Format characters (\p{C}) could turn text around or hide in it.
const WRITABLE = /^[^\s<>()[\],;:\\"@\p{C}]+@[^\s<>()\\",;@\p{C}]+$/u

/** The mailboxes of an unfolded address field; groups are taken apart. Never throws; what is no address is left out. */
export function listedAddresses(value: string): Listed[] {
  const listed: Listed[] = []
  const text = unquoted(value)
  for (const { name, address } of parse(value.slice(0, VALUE_LIMIT), { flatten: true })) {
    if (listed.length === LIMIT) break
    // The parser guesses at broken fields, and may make up an address that nobody wrote.
    if (!isWritable(address) || !value.includes(address)) continue
    const written = withAsciiDomain(address)
    // It joins what stands on both sides of an address to a name that nobody wrote either.
    if (written !== '') listed.push({ name: text.includes(unquoted(name)) ? name : '', address: written })
  }
  return listed
}

/**
 * The mailboxes as the words of a field body, to be folded between: names as encoded words where they need it, addresses in angle brackets.
 * An address whose local part is not ASCII stays as it is (RFC 6532).
 */
export function addressWords(listed: readonly Listed[]): string[] {
  const words: string[] = []
  for (const [i, { name, address }] of listed.entries()) {
    const comma = i === listed.length - 1 ? '' : ','
    const phrase = phraseWords(name)
    words.push(...phrase, `${phrase.length === 0 ? address : `<${address}>`}${comma}`)
  }
  return words
}

function phraseWords(name: string): string[] {
  const text = name.replace(/[\p{Cc}\s]+/gu, ' ').trim()
  if (text === '' || text.length > NAME_LIMIT) return []
  if (/[^\x20-\x7e]/.test(text) || text.length > 200) return encodedWords(text)
  if (/^[\w!#$%&'*+\-/=?^`{|}~ ]+$/.test(text)) return text.split(' ')
  return [`"${text.replace(/[\\"]/g, '\\$&')}"`]
}

/** What quoting may add or take away is left out. */
function unquoted(text: string): string {
  return text.replace(/[\s"\\]+/g, '')
}

function isWritable(address: string): boolean {
  return address.length <= 320 && WRITABLE.test(address)
}

function withAsciiDomain(address: string): string {
  const at = address.lastIndexOf('@')
  const domain = address.slice(at + 1)
  if (!/[^\x20-\x7e]/.test(domain)) return address
  const ascii = domainToASCII(domain)
  // '' where there is no such domain, and none is as long: then this is no address.
  return ascii === '' || ascii.length > DOMAIN_LIMIT ? '' : `${address.slice(0, at)}@${ascii}`
}
