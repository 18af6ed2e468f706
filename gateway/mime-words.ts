/**
 * RFC 2047 and RFC 2231 as far as rules need them: linear in the length of the text, never throwing; of an unknown charset, what is ASCII can be
 * read. Spaces in words are put up with, as mail programs do.
 */

const WORD = /=\?([^?\s]{1,64})\?([bBqQ])\?([^?]*)\?=/g
const BETWEEN = /(\?=)[ \t]+(?==\?[^?\s]{1,64}\?[bBqQ]\?)/g

/** An unstructured header value with its encoded words decoded. Control characters become spaces. */
export function decodeWords(value: string): string {
  if (!value.includes('=?')) return value
  const joined = value.replace(BETWEEN, '$1')
  return joined.replace(WORD, (_, charset: string, encoding: string, text: string) => {
    const octets = encoding.toLowerCase() === 'b' ? Buffer.from(text, 'base64') : fromQ(text)
    return decodeCharset(octets, charset)
  })
}

/** A structured value such as that of Content-Type: its first token in lower case, and its parameters by lower-case name. */
export type Structured = {
  readonly value: string
  readonly parameters: ReadonlyMap<string, string>
  /** What else was given for a name: mail programs do not agree on which counts. */
  readonly others: readonly (readonly [name: string, content: string])[]
}

const PARAMETER_LIMIT = 200
/** Characters of a structured value that are read. */
const LONGEST = 16_384

/**
 * Null if it does not begin with a token, is longer than 16,384 characters or has more than 200 parameters. Comments are passed over. Continued
 * and encoded parameters (RFC 2231) are put together.
 */
export function parseStructured(text: string): Structured | null {
  if (text.length > LONGEST) return null
  const value = /^(?:[ \t]|\([^()]*\))*"?([^\s;"(),=]{1,256})"?(?=[\s;(]|$)/.exec(text)?.[1]?.toLowerCase()
  if (value === undefined) return null
  const pieces = new Map<string, string>()
  const others: [string, string][] = []
  for (const [name, content] of parameterPairs(text)) {
    if (pieces.size === PARAMETER_LIMIT || others.length === PARAMETER_LIMIT) return null
    if (!pieces.has(name)) pieces.set(name, content)
    else if (pieces.get(name) !== content) others.push([name.split('*', 1)[0] ?? '', content])
  }
  const parameters = joinPieces(pieces)
  for (const [name, content] of pieces) {
    if (!name.includes('*') && parameters.get(name) !== content) others.push([name, content])
  }
  return { value, parameters, others }
}

// Many a program writes names with spaces and does not quote them, or opens a quote that it does not close.
const PAIR =
  /;(?:[ \t]|\([^()]*\))*([^\s=;"()]{1,128})(?:[ \t]|\([^()]*\))*=(?:[ \t]|\([^()]*\))*(?:"((?:[^"\\]|\\[\s\S])*)(?:"([^;]*)|$)|([^;]*))/g

function* parameterPairs(text: string): Iterable<readonly [string, string]> {
  for (const [, name = '', quoted = '', behind = '', plain = ''] of text.matchAll(PAIR)) {
    const bare = `${behind}${plain}`.replace(/\([^()]*\)|"/g, '').trim()
    yield [name.toLowerCase(), quoted.replace(/\\([\s\S])/g, '$1') + bare]
  }
}

/** `name*0*=`, `name*1=` … become `name`, which wins over a plain `name`. */
function joinPieces(pieces: ReadonlyMap<string, string>): Map<string, string> {
  const joined = new Map<string, string>()
  for (const [name, content] of pieces) {
    const star = name.indexOf('*')
    if (star === -1) {
      if (!joined.has(name)) joined.set(name, content)
      continue
    }
    const base = name.slice(0, star)
    if (name === `${base}*`) joined.set(base, decodeExtended(content))
    else if (name === `${base}*0` || name === `${base}*0*`) joined.set(base, joinFrom(pieces, base))
  }
  return joined
}

function joinFrom(pieces: ReadonlyMap<string, string>, base: string): string {
  let text = ''
  let extended = false
  for (let index = 0; index < PARAMETER_LIMIT; index++) {
    const plain = pieces.get(`${base}*${index}`)
    const encoded = pieces.get(`${base}*${index}*`)
    if (plain === undefined && encoded === undefined) break
    if (encoded !== undefined) extended = true
    text += encoded ?? plain
  }
  return extended ? decodeExtended(text) : text
}

/** `charset'language'percent-encoded`. */
function decodeExtended(text: string): string {
  const [, charset, encoded] = /^([^']{0,64})'[^']{0,64}'([\s\S]*)$/.exec(text) ?? []
  const octets = Buffer.from(
    (encoded ?? text).replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => latin1(hex)),
    'latin1',
  )
  return decodeCharset(octets, charset || 'utf-8')
}

function fromQ(text: string): Uint8Array {
  const spaced = text.replaceAll('_', ' ')
  return Buffer.from(
    spaced.replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => latin1(hex)),
    'latin1',
  )
}

function latin1(hex: string): string {
  return String.fromCharCode(Number.parseInt(hex, 16))
}

function decodeCharset(octets: Uint8Array, charset: string): string {
  // RFC 2231 5 lets a language follow the charset.
  const [label = ''] = charset.split('*')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  return (decoderOf(label) ?? new TextDecoder('latin1')).decode(octets).replace(/[\x00-\x1f\x7f]/g, ' ')
}

/** Null for a name that nobody knows. */
export function decoderOf(charset: string): TextDecoder | null {
  try {
    return new TextDecoder(charset)
  } catch {
    // A name that nobody knows: the caller goes on without.
    return null
  }
}
