import type PostalMime from 'postal-mime'

/** What the parser knows of one part. It is not in its types, so what is used of it is checked. */
type Part = {
  readonly state?: unknown
  readonly contentTransferEncoding?: { readonly encoding?: unknown }
  readonly contentType?: { readonly parsed?: { readonly params?: { readonly charset?: unknown } } }
  readonly contentDecoder?: { update?: (line: Uint8Array) => void } | null
}

type Inside = {
  readonly currentNode?: Part
  readonly attachments?: { content: unknown }[]
  processLine?: (line: Uint8Array, isFinal: boolean) => Promise<void>
  collectAttachment?: (part: Part, content: ArrayBuffer, ...more: readonly unknown[]) => void
}

/** From the first octet of the first line to behind the last octet of the last one, without its line end. */
type Lines = { start: number; end: number }

const LF = 10
const CR = 13
const EQUALS = 61

/**
 * Has `parser` give the attachments of `octets`, which it is to parse next, as they were attached. By itself it ends each line of what is not
 * in base64 with LF, and adds one to the last, and no signature or hash over such a file holds any more. A parser that is built in another
 * way is left alone.
 */
export function keepAttachments(parser: PostalMime, octets: Uint8Array<ArrayBuffer>): void {
  const inside = parser as unknown as Inside
  const { processLine, collectAttachment } = inside
  if (typeof processLine !== 'function' || typeof collectAttachment !== 'function') return
  const bodies = new Map<Part, Lines>()
  let latest: Part | undefined
  inside.processLine = (line, isFinal) => {
    const part = inside.currentNode
    if (part !== undefined && part !== latest && part.state === 'body') {
      latest = part
      watch(part, bodies)
    }
    return processLine.call(parser, line, isFinal)
  }
  inside.collectAttachment = (part, decoded, ...more) => {
    const lines = bodies.get(part)
    const content = lines === undefined ? decoded : contentOf(part, bodyIn(octets, lines))
    collectAttachment.call(parser, part, content, ...more)
    // Calendars are written anew, in UTF-8, which is right only where they came in another charset.
    const attachment = inside.attachments?.at(-1)
    if (attachment !== undefined && isUnicode(part)) attachment.content = content
  }
}

/** Notes where the lines of a part lie: they follow one another, and each is a view of the message. What is in base64 has no lines of its own. */
function watch(part: Part, bodies: Map<Part, Lines>): void {
  const { contentDecoder: decoder, contentTransferEncoding } = part
  const update = decoder?.update
  if (!decoder || update === undefined || /base64/.test(String(contentTransferEncoding?.encoding))) return
  const lines = bodies.get(part) ?? { start: -1, end: -1 }
  decoder.update = (line) => {
    if (lines.start < 0) lines.start = line.byteOffset
    lines.end = line.byteOffset + line.length
    bodies.set(part, lines)
    update.call(decoder, line)
  }
}

/** The line end before a delimiter belongs to it (RFC 2046 section 5.1.1); that of the message's last line does not. */
function bodyIn(octets: Uint8Array<ArrayBuffer>, { start, end }: Lines): Uint8Array<ArrayBuffer> {
  const feed = octets.indexOf(LF, end)
  if (feed === -1 || feed === octets.length - 1) return octets.slice(start)
  return octets.slice(start, octets[feed - 1] === CR && feed > start ? feed - 1 : feed)
}

function contentOf(part: Part, body: Uint8Array<ArrayBuffer>): ArrayBuffer {
  const quoted = /quoted-printable/.test(String(part.contentTransferEncoding?.encoding))
  return (quoted ? unquoted(body) : body).buffer
}

/** Quoted-printable (RFC 2045 section 6.7) with its line ends; what is no escape stays as it is. */
function unquoted(body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const plain = new Uint8Array(body.length)
  let length = 0
  for (let at = 0; at < body.length; at++) {
    const octet = body[at] ?? 0
    const next = octet === EQUALS ? String.fromCharCode(...body.subarray(at + 1, at + 3)) : null
    const softBreak = next === null ? null : /^(?:\r?\n|$)/.exec(next)
    if (next !== null && /^[0-9A-F]{2}$/i.test(next)) {
      plain[length++] = Number.parseInt(next, 16)
      at += 2
    } else if (softBreak !== null) at += softBreak[0].length
    else plain[length++] = octet
  }
  return plain.slice(0, length)
}

function isUnicode({ contentType }: Part): boolean {
  return /^(?:utf-?8|us-ascii|undefined|)$/i.test(String(contentType?.parsed?.params?.charset))
}
