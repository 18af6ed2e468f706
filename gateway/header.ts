/**
 * Header fields, byte by byte (RFC 5322 2.2). What is read here is never written anew: whoever keeps a field keeps its octets.
 */

/** One field. All of `raw`, in order and for every field, is exactly the header section less its closing empty line. */
export type HeaderField = {
  /** As it stands in the mail, without space before the colon; '' for a line that is no field. */
  readonly name: string
  /** `name` in lower case: what fields are compared by. */
  readonly key: string
  /** All octets of the field: name, colon, folding and the closing line end. */
  readonly raw: Uint8Array
  /** Unfolded and trimmed; UTF-8 where the octets are (RFC 6532), Latin-1 where they are not. RFC 2047 words stay as they are. */
  readonly value: string
}

export type Header = {
  readonly fields: readonly HeaderField[]
  /** Where the closing empty line begins, octets from the start of the message. */
  readonly end: number
  /** Where the body begins; equal to `end` in a message without an empty line. */
  readonly bodyStart: number
}

/** A larger header section is refused: 552 5.3.4. Octets. */
export const HEADER_LIMIT = 1024 * 1024
/** More fields are refused: 552 5.3.4. */
export const FIELD_LIMIT = 5000

const CR = 0x0d
const LF = 0x0a
const FIELD_NAME = /^[\x21-\x39\x3b-\x7e]+$/

/**
 * Where the empty line that closes the header section begins, searching from `from`; -1 while it has not come.
 * To search a growing buffer, begin again three octets before its earlier end.
 */
export function findHeaderEnd(octets: Uint8Array, from = 0): number {
  if (from === 0) {
    if (octets[0] === LF) return 0
    if (octets[0] === CR && octets[1] === LF) return 0
  }
  for (let at = octets.indexOf(LF, from); at !== -1; at = octets.indexOf(LF, at + 1)) {
    if (octets[at + 1] === LF) return at + 1
    if (octets[at + 1] === CR && octets[at + 2] === LF) return at + 1
  }
  return -1
}

/**
 * The header of a message, whose octets may go on into the body. Never throws: a line that is no field becomes a field without a name.
 * Null if it is over {@link HEADER_LIMIT} or {@link FIELD_LIMIT}. The fields share memory with `octets`.
 */
export function parseHeader(octets: Uint8Array): Header | null {
  const found = findHeaderEnd(octets)
  const end = found === -1 ? octets.length : found
  if (end > HEADER_LIMIT) return null
  const buffer = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
  const fields: HeaderField[] = []
  const text = buffer.toString('latin1', 0, end)
  for (let start = 0; start < end; ) {
    const next = fieldEnd(text, start)
    if (fields.length === FIELD_LIMIT) return null
    fields.push(readField(text.slice(start, next), buffer.subarray(start, next)))
    start = next
  }
  const gap = found === -1 ? 0 : octets[end] === CR ? 2 : 1
  return { fields, end, bodyStart: end + gap }
}

/** The value of the first field of that name (any case), or null. */
export function fieldValue(header: Header, name: string): string | null {
  const key = name.toLowerCase()
  for (const field of header.fields) if (field.key === key) return field.value
  return null
}

/** Every field of that name (any case), in order. */
export function fieldsOf(header: Header, name: string): readonly HeaderField[] {
  const key = name.toLowerCase()
  return header.fields.filter((field) => field.key === key)
}

const privateNames = new Set(['bcc', 'resent-bcc', 'x-sealpost-tenant'])
const privatePrefixes = [
  'sealpost-',
  'x-ms-exchange-organization-',
  'x-ms-exchange-forest-',
  'x-ms-exchange-crosspremises-',
]

/** Whether a field of that lower-case name must reach no recipient, sealed or not (docs/format.md). */
export function reachesNoRecipient(key: string): boolean {
  return privateNames.has(key) || privatePrefixes.some((prefix) => key.startsWith(prefix))
}

const traceNames = new Set([
  'received',
  'return-path',
  'delivered-to',
  'x-received',
  'x-original-to',
  'received-spf',
  'authentication-results',
  'x-originating-ip',
  'x-ld-processed',
  'x-originatororg',
  'sealpost-tenant',
  'x-sealpost-tenant',
])
const tracePrefixes = ['arc-', 'x-ms-exchange-', 'x-google-', 'x-gm-']

/** Whether a field of that lower-case name may differ between two attempts to send one message: it counts for no retry key. */
export function isTrace(key: string): boolean {
  return traceNames.has(key) || tracePrefixes.some((prefix) => key.startsWith(prefix))
}

function fieldEnd(text: string, start: number): number {
  let at = start
  for (;;) {
    const line = text.indexOf('\n', at)
    if (line === -1) return text.length
    at = line + 1
    const first = text.charCodeAt(at)
    if (first !== 0x20 && first !== 0x09) return at
  }
}

function readField(text: string, raw: Uint8Array): HeaderField {
  const colon = text.indexOf(':')
  const name = colon === -1 ? '' : withoutTrailingSpace(text.slice(0, colon))
  if (!FIELD_NAME.test(name)) return { name: '', key: '', raw, value: decode(text, raw, 0) }
  return { name, key: name.toLowerCase(), raw, value: decode(text, raw, colon + 1) }
}

/** An expression for this takes time by the square of the spaces that stand inside. */
function withoutTrailingSpace(text: string): string {
  let end = text.length
  while (end > 0 && (text[end - 1] === ' ' || text[end - 1] === '\t')) end -= 1
  return text.slice(0, end)
}

function decode(text: string, raw: Uint8Array, from: number): string {
  const plain = isAscii(text) ? text.slice(from) : decodeUtf8(text, raw, from)
  const folded = plain.includes('\n') ? plain.replace(/\r?\n(?=[ \t])/g, '') : plain
  return folded.trim()
}

function isAscii(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII is meant
  return /^[\x00-\x7f]*$/.test(text)
}

function decodeUtf8(text: string, raw: Uint8Array, from: number): string {
  const value = Buffer.from(raw.buffer, raw.byteOffset + from, raw.length - from).toString('utf8')
  return value.includes('\ufffd') ? text.slice(from) : value
}
