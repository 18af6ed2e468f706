import { ATTACHMENT_TYPE } from './compose.ts'
import type { OutgoingMail } from './courier.ts'
import { octetsOf } from './letter.ts'
import { ATTACHMENT_NAME } from './notice-words.ts'

/** A sealed mail taken apart: the mail without its envelope, and the envelope itself. */
export type Detached = {
  /** The whole mail but for the attachment, still multipart/mixed. */
  readonly mime: Uint8Array
  readonly name: string
  readonly contentType: string
  /** Octets of the attachment, decoded. */
  readonly size: number
  /** The attachment's octets in chunks, as often as asked. */
  open(): AsyncIterable<Uint8Array>
}

/** What stands before the attachment is at most so long. */
const HEAD_LIMIT = 2_000_000
const MARKER = Buffer.from(`\r\nContent-Type: ${ATTACHMENT_TYPE};\r\n`, 'latin1')

/** Null if the mail is not built as ours are, with the envelope as its last part. Reads it once; rejects as its stream does. */
export async function detach(mail: OutgoingMail): Promise<Detached | null> {
  const stream = octetsOf(mail)
  const head = await readHead(stream)
  if (head === null) return null
  let size = 0
  for await (const chunk of decoded(head.rest, stream, head.closing)) {
    if (chunk === null) return null
    size += chunk.length
  }
  const mime = Buffer.concat([head.before, Buffer.from(head.closing, 'latin1')])
  return { mime, name: ATTACHMENT_NAME, contentType: ATTACHMENT_TYPE, size, open: () => attachmentOf(mail) }
}

async function* attachmentOf(mail: OutgoingMail): AsyncGenerator<Uint8Array> {
  const stream = octetsOf(mail)
  const head = await readHead(stream)
  if (head === null) throw new Error('the mail is not what it was')
  for await (const chunk of decoded(head.rest, stream, head.closing)) {
    if (chunk === null) throw new Error('the mail is not what it was')
    yield chunk
  }
}

type Head = {
  /** Up to the delimiter line of the attachment, which is left out. */
  readonly before: Uint8Array
  /** The line that must end the mail. */
  readonly closing: string
  /** Base64 that came with the head. */
  readonly rest: Buffer
}

async function readHead(stream: AsyncGenerator<Uint8Array>): Promise<Head | null> {
  let held: Buffer = Buffer.alloc(0)
  for (let next = await stream.next(); next.done !== true; next = await stream.next()) {
    held = Buffer.concat([held, next.value])
    const marker = held.indexOf(MARKER)
    const end = marker === -1 ? -1 : held.indexOf('\r\n\r\n', marker, 'latin1')
    if (end !== -1) {
      const line = held.lastIndexOf('\r\n', marker - 1, 'latin1') + 2
      const delimiter = held.toString('latin1', line, marker)
      if (!delimiter.startsWith('--')) return null
      return { before: held.subarray(0, line), closing: `${delimiter}--\r\n`, rest: held.subarray(end + 4) }
    }
    if (held.length > HEAD_LIMIT) return null
  }
  return null
}

/** The octets of a base64 part that `closing` ends; null where it does not, or where something follows. */
async function* decoded(
  rest: Buffer,
  stream: AsyncGenerator<Uint8Array>,
  closing: string,
): AsyncGenerator<Uint8Array | null> {
  let text = ''
  let ended: string | null = null
  for (let next: IteratorResult<Uint8Array> = { value: rest }; next.done !== true; next = await stream.next()) {
    let piece = Buffer.from(next.value).toString('latin1')
    if (ended === null) {
      const dash = piece.indexOf('-')
      if (dash !== -1) {
        ended = piece.slice(dash)
        piece = piece.slice(0, dash)
      }
      text += piece.replaceAll('\r\n', '').replaceAll('\n', '').replaceAll('\r', '')
      const whole = ended === null ? text.length - (text.length % 4) : text.length
      if (whole > 0) yield Buffer.from(text.slice(0, whole), 'base64')
      text = text.slice(whole)
    } else ended += piece
  }
  if (ended !== closing) yield null
}
