import { type Address, parseAddress } from '../protocol/identifiers.ts'

/** Characters of a From field that are read. */
const LONGEST = 65_536

/**
 * The addresses of a From field (RFC 5322 3.4), with groups, comments, quoted strings and source routes. Null if any part of it cannot be
 * read as an address: what cannot be read must not be taken for one's own. Linear in the length of the text.
 */
export function parseAddressList(text: string): Address[] | null {
  if (text.length > LONGEST) return null
  const addresses: Address[] = []
  for (const entry of entriesOf(text)) {
    if (entry === null) return null
    const address = parseAddress(entry)
    if (address === null) return null
    addresses.push(address)
  }
  return addresses
}

/** Each mailbox's `local@domain`; null for one that has none. */
function* entriesOf(text: string): Iterable<string | null> {
  let outside = ''
  let inside: string | null = null
  let angle = false
  let words = false
  for (const token of text.matchAll(TOKEN)) {
    const [piece] = token
    if (piece === '') continue
    if (piece.startsWith('(')) continue
    if (piece === '<') {
      if (inside !== null) return yield null
      inside = ''
      angle = true
    } else if (piece === '>') angle = false
    else if (angle) inside += piece
    else if (piece === ',' || piece === ';') {
      if (words || inside !== null) yield specOf(outside, inside)
      outside = ''
      inside = null
      words = false
    } else if (piece === ':' && inside === null) {
      outside = ''
      words = false
    } else {
      outside += piece
      words ||= piece.trim() !== ''
    }
  }
  if (angle) yield null
  else if (words || inside !== null) yield specOf(outside, inside)
}

/** Quoted strings, comments (one level of nesting), the specials, and runs of all else. */
const TOKEN = /"(?:[^"\\]|\\[\s\S])*"?|\((?:[^()\\]|\\[\s\S]|\([^()]*\))*\)?|[<>,;:]|[^"(<>,;:]+|[\s\S]/g

function specOf(outside: string, inside: string | null): string | null {
  // RFC 5322 4.4: a source route before the address is ignored.
  const spec = (inside ?? outside)
    .replace(/^[^"]*:(?=[^:]*@)/, '')
    .replace(/\s+/g, ' ')
    .replace(/ ?([@.]) ?/g, '$1')
    .trim()
  if (/^[^\s"@]+@[^\s"@]+$/.test(spec)) return spec
  // A quoted local part that needs no quotes is the same address without them (RFC 5321 4.1.2).
  const [, local, domain] = /^"([^\s"\\@]+)"@([^\s"@]+)$/.exec(spec) ?? []
  return local === undefined ? null : `${local}@${domain}`
}
