import { parseHeader } from './header.ts'
import { isMessage, isMultipart, type Part, readPart } from './mime-part.ts'
import { createPartHead, type PartHead, type PartHeadStart } from './part-head.ts'

/** Where the octets of one part's body go, as they stand in the message. */
export type PartBody = { write(octets: Uint8Array): void }

/**
 * The parts of a message (RFC 2046 5.1), those of messages inside it as well: delimiters are searched for, no body is decoded. Bounded in
 * depth, number of parts and work, so that the time is linear in the size whatever the octets are.
 */
export type PartScan = {
  /** The next octets, beginning with the empty line that closes the message's header. */
  feed(chunk: Uint8Array): void
  /** All parts in order, the message itself first. */
  finish(): {
    readonly parts: readonly Part[]
    /** They cannot all be told. */
    readonly malformed: boolean
    /** Neither can those of a message inside this one, which leaves this one readable. */
    readonly whole: boolean
  }
}

type OpenMultipart = {
  readonly delimiter: string
  readonly within: number
  readonly otherwise: string
  /** Its delimiter came. One none of whose delimiters ever come is none, or somebody else reads another delimiter. */
  begun: boolean
}

const DEPTH_LIMIT = 32
const PART_LIMIT = 1000
/** Lines that begin like a delimiter. */
const CANDIDATE_LIMIT = 20_000
const DELIMITER_LIMIT = 256
/** Octets of a chunk that are looked at together with what was left of the one before. */
const SEAM = 2 * DELIMITER_LIMIT
const DASHES = Buffer.from('\r\n--')
const CR = 0x0d
const LF = 0x0a
const NOTHING: Buffer = Buffer.alloc(0)

/** `bodyOf` is asked once for each part that holds no further parts, and may want its body. */
export function createPartScan(message: Part, bodyOf: (part: Part) => PartBody | null): PartScan {
  const parts: Part[] = [message]
  /** The multiparts that are open, outermost first. */
  const open: OpenMultipart[] = []
  /** The delimiters of those that were. */
  const gone = new Set<string>()
  let malformed = false
  let whole = true
  let candidates = 0
  let carry = NOTHING
  /** The header of the part that has begun; null in a body. */
  let head: PartHead | null = null
  let body: PartBody | null = null
  /** Messages around what is read now. */
  let within = 0
  let stopped = false

  function stop(): void {
    malformed = true
    stopped = true
  }

  function doubt(level: number): void {
    whole = false
    if (level === 0) malformed = true
  }

  function enter(part: Part): void {
    body = null
    if (part.doubtful) doubt(part.within)
    const deep = open.length === DEPTH_LIMIT || within === DEPTH_LIMIT
    const delimiter = part.parameters.get('boundary')?.trimEnd() ?? ''
    if (isMessage(part)) {
      within += 1
      head = createPartHead('after-line')
    } else if (isMultipart(part) && delimiter !== '') {
      const otherwise = part.type === 'multipart/digest' ? 'message/rfc822' : 'text/plain'
      open.push({ delimiter, within, otherwise, begun: false })
    } else if (isMultipart(part) && part.within === 0) {
      stop()
    } else {
      if (isMultipart(part)) doubt(within)
      // Not allowed (RFC 2046 5.2.1): some take the encoding off, some do not.
      if (part.type === 'message/rfc822') whole = false
      body = bodyOf(part)
      return
    }
    if (deep) stop()
  }

  function closeHead(): void {
    if (head === null) return
    const octets = head.octets()
    if (head.cut()) doubt(within)
    head = null
    const header = parseHeader(octets)
    if (header === null || parts.length === PART_LIMIT) {
      stop()
      return
    }
    const around = open.at(-1)
    // A message has its own default, whatever the multipart around it says of its parts.
    const part = readPart(header, within, around?.within === within ? around.otherwise : 'text/plain')
    parts.push(part)
    enter(part)
    if (!stopped) take(octets.subarray(header.bodyStart))
  }

  function take(region: Buffer): void {
    if (region.length === 0) return
    if (head === null) {
      body?.write(region)
      return
    }
    const { taken, complete } = head.add(region)
    if (!complete) return
    closeHead()
    if (!stopped) take(region.subarray(taken))
  }

  /** The open multipart whose delimiter the line behind CRLF-dash-dash is; null if it is none. */
  function delimited(line: string): { readonly index: number; readonly closes: boolean } | null {
    const text = line.trimEnd()
    const opening = open.findLastIndex(({ delimiter }) => delimiter === text)
    if (opening !== -1) return { index: opening, closes: false }
    const shorter = text.endsWith('--') ? text.slice(0, -2) : text
    const closing = open.findLastIndex(({ delimiter }) => delimiter === shorter)
    // Some mail programs go on behind the end of a multipart.
    if (closing === -1 && (gone.has(text) || gone.has(shorter))) doubt(within)
    return closing === -1 ? null : { index: closing, closes: true }
  }

  function leave(multiparts: readonly OpenMultipart[]): void {
    for (const one of multiparts) {
      if (!one.begun) doubt(one.within)
      gone.add(one.delimiter)
    }
  }

  /** `after` says where behind the delimiter the new part's octets begin. */
  function turnTo({ index, closes }: { readonly index: number; readonly closes: boolean }, after: PartHeadStart): void {
    closeHead()
    if (stopped) return
    within = open[index]?.within ?? 0
    const [own, ...inner] = open.slice(index)
    if (own !== undefined && !closes) own.begun = true
    leave(closes && own !== undefined ? [own, ...inner] : inner)
    open.length = Math.min(open.length, closes ? index : index + 1)
    body = null
    head = closes ? null : createPartHead(after)
  }

  /** Gives back what must be seen again together with the next octets. */
  function scan(data: Buffer, last: boolean): Buffer {
    let from = 0
    const give = (to: number) => {
      take(data.subarray(from, Math.max(from, to)))
      from = Math.max(from, to)
    }
    let at = data.indexOf(DASHES)
    while (at !== -1) {
      const start = at + DASHES.length
      const end = data.indexOf(LF, start)
      if (end === -1 && !last && data.length - start < DELIMITER_LIMIT) break
      candidates += 1
      if (candidates > CANDIDATE_LIMIT) stop()
      // The header before may open the multipart whose delimiter this is, and the empty line that ends it begin the delimiter.
      give(at)
      if (head !== null) give(at + 2)
      if (stopped) return NOTHING
      const lineEnd = end === -1 ? start + DELIMITER_LIMIT : Math.min(end, start + DELIMITER_LIMIT)
      const found = delimited(data.toString('latin1', start, lineEnd))
      if (found !== null) {
        const whole = end !== -1 && data[end - 1] === CR
        turnTo(found, whole ? 'at-line-end' : 'after-line')
        from = end === -1 ? data.length : whole ? end - 1 : end + 1
      }
      if (stopped) return NOTHING
      // The CRLF of this line may begin the next delimiter.
      at = data.indexOf(DASHES, end === -1 ? start : end - 1)
    }
    const keep = Math.max(from, at === -1 ? data.length - DASHES.length + 1 : at)
    take(data.subarray(from, last ? data.length : keep))
    return data.subarray(keep)
  }

  /** Only octets about the seam between two chunks are copied: nothing of a chunk is looked at once it was fed. */
  function feedScan(next: Buffer): void {
    if (carry.length === 0) {
      carry = Buffer.from(scan(next, false))
      return
    }
    carry = scan(Buffer.concat([carry, next.subarray(0, SEAM)]), false)
    if (stopped || next.length <= SEAM) return
    const apart = carry.length > SEAM
    carry = Buffer.from(
      scan(apart ? Buffer.concat([carry, next.subarray(SEAM)]) : next.subarray(SEAM - carry.length), false),
    )
  }

  enter(message)
  let gap = open.length === 0 ? 2 : 0
  return {
    feed(chunk) {
      if (stopped) return
      const own = chunk.subarray(gap)
      gap = Math.max(0, gap - chunk.length)
      const next = Buffer.from(own.buffer, own.byteOffset, own.length)
      if (open.length === 0 && gone.size === 0 && head === null && carry.length === 0) take(next)
      else feedScan(next)
    },
    finish() {
      if (!stopped) scan(carry, true)
      closeHead()
      leave(open)
      return { parts, malformed, whole: whole && !malformed }
    },
  }
}
