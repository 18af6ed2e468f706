import { fieldsOf, type Header, parseHeader } from './header.ts'
import { decodeWords, parseStructured, type Structured } from './mime-words.ts'

/**
 * The parts of a message by their headers (RFC 2046 5.1): delimiters are searched for, no body is decoded, a message inside the message
 * is one part. Bounded in depth, number of parts and work, so that the time is linear in the size whatever the octets are.
 */
export type Part = {
  /** `text/plain`, lower case; that is also what a part without Content-Type is (RFC 2045 5.2). */
  readonly type: string
  readonly parameters: ReadonlyMap<string, string>
  /** `attachment`, `inline`, …, lower case; '' without. */
  readonly disposition: string
  /** Decoded; '' without. */
  readonly filename: string
  /** More than one Content-Type, or one that cannot be read. */
  readonly doubtful: boolean
}

export type PartScan = {
  /** The next octets, beginning with the empty line that closes the message's header. */
  feed(chunk: Uint8Array): void
  /** All parts in order, the message itself first; `malformed` if they cannot all be told. */
  finish(): { readonly parts: readonly Part[]; readonly malformed: boolean }
}

const DEPTH_LIMIT = 32
const PART_LIMIT = 1000
/** Lines that begin like a delimiter. */
const CANDIDATE_LIMIT = 20_000
const PART_HEADER_LIMIT = 64 * 1024
const DELIMITER_LIMIT = 256
const DASHES = Buffer.from('\r\n--')
const LF = 0x0a

/** What a header says about the part that it heads. */
export function readPart(header: Header): Part {
  const types = fieldsOf(header, 'content-type')
  const type = parseStructured(types[0]?.value ?? 'text/plain')
  const disposition = parseStructured(fieldsOf(header, 'content-disposition')[0]?.value ?? '')
  const parameters: Structured['parameters'] = type?.parameters ?? new Map()
  return {
    type: type?.value ?? 'text/plain',
    parameters,
    disposition: disposition?.value ?? '',
    filename: decodeWords(disposition?.parameters.get('filename') ?? parameters.get('name') ?? '').slice(0, 1024),
    doubtful: type === null || types.length > 1,
  }
}

export function isMultipart(part: Part): boolean {
  return part.type.startsWith('multipart/')
}

export function createPartScan(message: Part): PartScan {
  const parts: Part[] = [message]
  /** Delimiters of the open multiparts, outermost first. */
  const open: string[] = []
  let malformed = false
  let candidates = 0
  let carry: Buffer = Buffer.alloc(0)
  /** The octets of a part's header so far; null in a body. */
  let head: Buffer[] | null = null
  let stopped = !isMultipart(message)

  function stop(): void {
    malformed = true
    stopped = true
  }

  function enter(part: Part): void {
    if (part.doubtful) malformed = true
    if (!isMultipart(part)) return
    const boundary = part.parameters.get('boundary') ?? ''
    if (boundary === '' || open.length === DEPTH_LIMIT) {
      stop()
      return
    }
    open.push(boundary.trimEnd())
  }

  function closeHead(): void {
    if (head === null) return
    const header = parseHeader(joined(head))
    head = null
    if (header === null || parts.length === PART_LIMIT) {
      stop()
      return
    }
    const part = readPart(header)
    parts.push(part)
    enter(part)
  }

  function take(region: Buffer): void {
    if (head === null || region.length === 0) return
    head.push(region.subarray(0, PART_HEADER_LIMIT))
    const soFar = joined(head)
    if (soFar.length >= PART_HEADER_LIMIT || soFar.includes('\r\n\r\n') || soFar.indexOf('\r\n') === 0) closeHead()
  }

  /** The open multipart whose delimiter the line behind CRLF-dash-dash is; null if it is none. */
  function delimited(line: string): { readonly index: number; readonly closes: boolean } | null {
    const text = line.trimEnd()
    const opening = open.lastIndexOf(text)
    if (opening !== -1) return { index: opening, closes: false }
    const closing = text.endsWith('--') ? open.lastIndexOf(text.slice(0, -2)) : -1
    return closing === -1 ? null : { index: closing, closes: true }
  }

  /** Gives back what must be seen again together with the next octets. */
  function scan(data: Buffer, last: boolean): Buffer {
    let from = 0
    let at = data.indexOf(DASHES)
    while (at !== -1) {
      const start = at + DASHES.length
      const end = data.indexOf(LF, start)
      if (end === -1 && !last && data.length - start < DELIMITER_LIMIT) break
      candidates += 1
      if (candidates > CANDIDATE_LIMIT) stop()
      const lineEnd = end === -1 ? start + DELIMITER_LIMIT : Math.min(end, start + DELIMITER_LIMIT)
      const found = delimited(data.toString('latin1', start, lineEnd))
      if (found !== null) {
        take(data.subarray(from, at))
        closeHead()
        open.length = Math.min(open.length, found.closes ? found.index : found.index + 1)
        head = found.closes ? null : []
        from = end === -1 ? data.length : end + 1
      }
      if (stopped) return Buffer.alloc(0)
      // The CRLF of this line may begin the next delimiter.
      at = data.indexOf(DASHES, end === -1 ? start : end - 1)
    }
    const keep = Math.max(from, at === -1 ? data.length - DASHES.length + 1 : at)
    take(data.subarray(from, last ? data.length : keep))
    return data.subarray(keep)
  }

  enter(message)
  return {
    feed(chunk) {
      if (stopped) return
      const next = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
      carry = scan(carry.length === 0 ? next : Buffer.concat([carry, next]), false)
    },
    finish() {
      if (!stopped) scan(carry, true)
      closeHead()
      // A multipart none of whose delimiters ever came is none.
      if (isMultipart(message) && parts.length === 1) malformed = true
      return { parts, malformed }
    },
  }
}

function joined(pieces: readonly Buffer[]): Buffer {
  const [only] = pieces
  return pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces)
}
