import { hash } from 'node:crypto'
import { domainToUnicode } from 'node:url'
import type { PassParts, SealedParts } from './compose.ts'

/** How the body of a sealed mail is framed, as its header says. */
export type Framing = { readonly type: 'mixed' | 'alternative'; readonly boundary: string }

/** The last look's own list: what may stand outside (DESIGN: "Kept outside"). */
const OUTSIDE = new Set([
  ...['received', 'from', 'sender', 'reply-to', 'to', 'cc', 'date', 'message-id', 'in-reply-to', 'references'],
  ...['resent-date', 'resent-from', 'resent-sender', 'resent-to', 'resent-cc', 'resent-message-id'],
  ...[
    'thread-index',
    'auto-submitted',
    'precedence',
    'x-auto-response-suppress',
    'importance',
    'msip_labels',
    'tls-required',
    'subject',
  ],
])
const ADDRESSES = /^(?:resent-)?(?:from|sender|to|cc)$|^reply-to$/
const NOWHERE =
  /^(?:bcc|resent-bcc|sealpost-.*|x-sealpost-tenant|x-ms-exchange-(?:organization|forest|crosspremises)-.*)$/
const FIELD = /^([!-9;-~]+)[ \t]*:([^\0]*)\r\n$/s

type Field = { readonly key: string; readonly body: string; readonly raw: string }

/** What is wrong with the header of a sealed mail (latin1, its last CRLF included); its framing if nothing is. */
export function sealedHeaderFault(header: string, parts: SealedParts): Framing | string {
  const fields = split(header)
  if (fields === null) return 'a line of the header is no field'
  const source = sourceOf(parts)
  let framing: Framing | null = null
  for (const [i, field] of fields.entries()) {
    const form = formFault(field)
    if (form !== null) return form
    if (i === 0) {
      if (field.raw !== `Received: ${parts.received}\r\n`) return 'our Received field is not the first'
    } else if (field.raw.startsWith('Content-Type:')) {
      if (framing !== null) return 'there are two Content-Type fields'
      framing = framingOf(field.body, parts)
      if (framing === null) return 'the Content-Type is not ours'
    } else if (!isOurs(field, parts) && !isKeptFrom(field, parts, source)) {
      return `the field ${nameForLog(field.key)} is neither kept nor ours`
    }
  }
  return framing ?? 'there is no Content-Type'
}

/** What is wrong with the header of a passed mail; null if nothing is. */
export function passedHeaderFault(header: string, parts: PassParts): string | null {
  const stamps = `Received: ${parts.received}\r\nSealpost-Handled: ${parts.handled}\r\n`
  if (!header.startsWith(stamps)) return 'our Received field and stamp are not the first'
  for (const line of header.slice(stamps.length).split(/\r\n(?![ \t])/)) {
    const name = /^([!-9;-~]+)[ \t]*:/.exec(line)?.[1]?.toLowerCase()
    if (name !== undefined && NOWHERE.test(name)) return `the field ${nameForLog(name)} must reach no recipient`
  }
  return null
}

function split(header: string): Field[] | null {
  const fields: Field[] = []
  for (const raw of header.split(/(?<=\r\n)(?![ \t])/)) {
    const match = FIELD.exec(raw)
    if (match === null) return null
    fields.push({ key: (match[1] ?? '').toLowerCase(), body: match[2] ?? '', raw })
  }
  return fields
}

function formFault(field: Field): string | null {
  for (const line of field.raw.slice(0, -2).split('\r\n')) {
    if (line.length > 998) return 'a line of the header is too long'
    if (/[^\t\x20-\x7e\x80-\xff]/.test(line)) return 'a field holds a control character'
    if (/[\x80-\xff]/.test(line) && !(ADDRESSES.test(field.key) && onlyInAddresses(line))) return 'a field is not ASCII'
  }
  return null
}

function onlyInAddresses(line: string): boolean {
  // These are octets: A0, of which à and Р have one, is no space.
  return line.split(/[\t <>,]+/).every((word) => !/[\x80-\xff]/.test(word) || /^[^@]+@[\x21-\x7e]+$/.test(word))
}

function framingOf(body: string, parts: SealedParts): Framing | null {
  const match = /^ multipart\/(mixed|alternative);\r\n boundary="(=_sealpost-[ma]-[\w-]{22})"$/.exec(body)
  const type = match?.[1]
  if (match === null || (type !== 'mixed' && type !== 'alternative')) return null
  const fits = (type === 'mixed') === (parts.sealed !== null)
  return fits ? { type, boundary: match[2] ?? '' } : null
}

/** Every accepted field of a name: as they stood, and the words of those that cannot leave so. */
type Known = { readonly raws: Set<string>; readonly awkward: Buffer[]; words: ReadonlySet<string> | null }
type Source = ReadonlyMap<string, Known>

function sourceOf(parts: SealedParts): Source {
  const source = new Map<string, Known>()
  for (const { key, raw } of parts.fields) {
    const octets = Buffer.from(raw.buffer, raw.byteOffset, raw.length)
    const text = octets.toString('latin1')
    const known = source.get(key) ?? { raws: new Set<string>(), awkward: [], words: null }
    known.raws.add(text)
    if (isAwkward(text)) known.awkward.push(octets)
    source.set(key, known)
  }
  return source
}

function isOurs(field: Field, parts: SealedParts): boolean {
  const [name = ''] = field.raw.split(':')
  const value = field.body.startsWith(' ') ? field.body.slice(1) : ''
  switch (name) {
    case 'Sealpost-Handled':
      return value === parts.handled
    case 'MIME-Version':
      return value === '1.0'
    case 'Content-Language':
      return value === (parts.notice?.languages ?? ['en']).join(', ')
    case 'Subject':
      return parts.subject !== undefined && bare(decoded(value)) === bare(parts.subject)
    case 'From':
      return value === (parts.sender ?? `MAILER-DAEMON@${parts.org}`) || sameUtf8(value, parts.sender)
    case 'Date':
      return value === `${parts.now.toUTCString().slice(0, -3)}+0000`
    case 'Message-ID':
      return value === `<${madeId(parts)}@${parts.org}>`
    default:
      return false
  }
}

/** docs/format.md, "The outgoing mail". */
function madeId(parts: SealedParts): string {
  return hash('sha256', `sealpost/message-id/v1\n${parts.envelope}`, 'base64url').slice(0, 22)
}

/** Cannot leave as it is: 8-bit or control characters, a line that is too long or blank, space before the colon. */
function isAwkward(raw: string): boolean {
  if (/[^\t\r\n\x20-\x7e]|\r(?!\n)|(?<!\r)\n|^\S+[ \t]+:/.test(raw) || !raw.endsWith('\r\n')) return true
  return raw.split('\r\n').some((line, i, lines) => line.length > 998 || (i < lines.length - 1 && line.trim() === ''))
}

/** A kept field is its own octets or, where those cannot leave, holds no word that the accepted fields of its name do not hold. */
function isKeptFrom(field: Field, parts: SealedParts, source: Source): boolean {
  if (!isAllowedOutside(field.key, parts.towardsMicrosoft)) return false
  if (field.key === 'subject' && parts.subject !== undefined) return false
  const known = source.get(field.key)
  if (known === undefined) return false
  if (known.raws.has(field.raw)) return true
  if (known.awkward.length === 0) return false
  known.words ??= allWords(known.awkward)
  const { words } = known
  const text = withUnicodeDomains(decoded(Buffer.from(field.body, 'latin1').toString('utf8')))
  return wordsIn(text).every((word) => words.has(word))
}

/** Every word that may leave of these fields, coded or not. One pass: the fields may be as long as a header may be. */
function allWords(fields: readonly Buffer[]): ReadonlySet<string> {
  const words = new Set<string>()
  for (const octets of fields) {
    for (const text of [octets.toString('utf8'), octets.toString('latin1')]) {
      // Quoted pairs (RFC 5322 3.2.1) lose their backslash, in the middle of a word too.
      const unquoted = text.replaceAll('\\', '')
      const forms = [text, decoded(text), decoded(text, ' '), withUnicodeDomains(text), unquoted]
      // IDNA folds before it codes (UTS 46).
      for (const word of [...forms, text.normalize('NFKC')].flatMap(wordsIn)) words.add(word)
    }
  }
  return words
}

function withUnicodeDomains(text: string): string {
  // Run by run: an expression that looks for xn-- inside a run takes time by the square of its length. No domain is longer than 253.
  return text.replace(/[^\s<>(),;:"@]+/g, (run) =>
    run.length <= 253 && /xn--/i.test(run) ? domainToUnicode(run) || run : run,
  )
}

/** Runs of ASCII letters and digits, and single characters beyond ASCII: coding may part and join those. */
function wordsIn(text: string): string[] {
  return text.toLowerCase().match(/[a-z0-9]+|[^\p{ASCII}\p{Cc}\s]/gu) ?? []
}

function isAllowedOutside(key: string, towardsMicrosoft: boolean): boolean {
  if (NOWHERE.test(key)) return false
  if (OUTSIDE.has(key) || key.startsWith('list-')) return true
  return towardsMicrosoft && (key.startsWith('x-ms-exchange-') || key === 'x-ld-processed')
}

/** With the encoded words that compose.ts writes taken off: UTF-8, B. White space between two of them is theirs. */
function decoded(text: string, around = ''): string {
  return text
    .replace(/(\?=)\s+(?==\?utf-8\?B\?)/g, '$1')
    .replace(
      /=\?utf-8\?B\?([A-Za-z0-9+/=]*)\?=/g,
      (_, coded: string) => around + Buffer.from(coded, 'base64').toString('utf8') + around,
    )
}

/** What is left to compare when folding, quoting and control characters are taken away. */
function bare(text: string): string {
  return text.replace(/[\s\p{Cc}"\\]+/gu, '')
}

function sameUtf8(value: string, sender: string | null): boolean {
  return sender !== null && Buffer.from(value, 'latin1').toString('utf8') === sender
}

/** A name may be anything that was in the mail: only one of an ordinary form is told. */
function nameForLog(key: string): string {
  return /^[a-z][a-z-]{0,40}$/.test(key) ? key : '(of unusual form)'
}
