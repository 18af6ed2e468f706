import { isAscii } from 'node:buffer'
import { createHash, type Hash } from 'node:crypto'
import { giveBack, type Lent } from '../envelope/lent.ts'
import type { Address, OrgId } from '../protocol/identifiers.ts'
import type { OutboundFacts } from '../rulebook/index.ts'
import type { MessageWish } from './dsn.ts'
import { findHeaderEnd, type Header, isTrace, parseHeader, reachesNoRecipient } from './header.ts'
import type { Room } from './room.ts'
import { createWaitingOctets, type WaitingOctets } from './waiting-octets.ts'

export type Mailbox = {
  /** For comparing and for the key server. */
  readonly address: Address
  /** For the next hop: local part as given, domain as A-labels. ASCII unless the local part is not. */
  readonly mailbox: string
}

export type IntakeRecipient = Mailbox & {
  /** NOTIFY of RFC 3461 as given, upper case; null without. */
  readonly notify: readonly string[] | null
  /** ORCPT of RFC 3461 as given (`rfc822;…`, xtext decoded); null without. */
  readonly orcpt: string | null
}

/** The octets of a message as it was accepted. They have CRLF line ends throughout. */
export type Content = {
  /** The whole header as accepted; see {@link Content.plaintext} for what leaves of it. */
  readonly header: Header
  /** Octets as accepted. */
  readonly size: number
  /** Octets of {@link Content.plaintext}. */
  readonly plainSize: number
  /** Octets of {@link Content.body}. */
  readonly bodySize: number
  /** Octets above 127 in the body. */
  readonly eightBit: boolean
  /** SHA-256 without the fields that differ between attempts (`isTrace` in header.ts). */
  readonly traceFreeDigest: Uint8Array
  /** The accepted octets of a message of up to 1 MiB; null of a larger one. */
  readonly octets: Uint8Array | null
  /** The accepted octets, as often as asked. Throws if the scratch file was altered. */
  accepted(): Lent
  /** What is sealed: the accepted octets less the fields that must reach no recipient (`reachesNoRecipient` in header.ts). */
  plaintext(): Lent
  /** From `header.end` on: the empty line that closes the header, and the body. */
  body(): Lent
  /** Frees memory and scratch file; may be called again. Nothing can be read afterwards. */
  discard(): Promise<void>
}

/** A message with what the client said and proved, before anything is decided about it. */
export type Intake = {
  /** Names this attempt in the log, in our Received field and in refusals: 16 random octets, base64url. */
  readonly id: string
  /** Proven by the client. */
  readonly org: OrgId
  /** The proven MAIL FROM; null for `<>`. */
  readonly sender: Mailbox | null
  /** In the order of RCPT, no two of them the same person. */
  readonly recipients: readonly IntakeRecipient[]
  readonly smtpUtf8: boolean
  /** Who handed it in. */
  readonly client: OutboundFacts['client']
  /** RET and ENVID of RFC 3461. */
  readonly wish: MessageWish
  readonly receivedAt: Date
  /** The value of our Received field (RFC 5321 4.4), folded, ASCII. */
  readonly received: string
  readonly content: Content
}

/** Octets of a message that is in memory whatever happens, and its header with it; a larger one waits where there is room. */
export const MEMORY_LIMIT = 1024 * 1024

/** Takes in one message's octets as they come. */
export type ContentWriter = {
  /** Keeps a copy: the octets may be used again once it resolves, and then more may come. Rejects if the scratch file cannot be written. */
  write(chunk: Uint8Array): Promise<void>
  /** What came in; null, with everything freed, if the header is too large or has too many fields: 552 5.3.4. */
  finish(): Promise<Content | null>
  /** Frees memory and scratch file of a message that will not be finished. */
  discard(): Promise<void>
}

type Waiting =
  | { readonly kind: 'memory'; readonly chunks: Uint8Array[] }
  | { readonly kind: 'large'; readonly octets: WaitingOctets; readonly look: Look }
  | { readonly kind: 'too-large' }

/** What does not fit into the room goes to a scratch file in `folder`, which is unlinked as soon as it is open. */
export function createContentWriter(folder: string, room: Room): ContentWriter {
  let waiting: Waiting = { kind: 'memory', chunks: [] }
  let size = 0

  async function grow(chunks: readonly Uint8Array[]): Promise<Waiting> {
    const start = untilHeaderEnd(chunks)
    // The header may be no larger than what memory holds, so it has ended by now or never will.
    const header = start === null ? null : parseHeader(start)
    if (start === null || header === null) return { kind: 'too-large' }
    // The fields are parts of what they were read from, which is given back.
    const look = createLook(parseHeader(Buffer.from(start.subarray(0, header.bodyStart))) ?? header)
    const octets = createWaitingOctets(folder, room)
    try {
      for (const chunk of chunks) {
        look.update(chunk)
        await octets.write(chunk)
        giveBack(chunk)
      }
    } catch (error) {
      await octets.close()
      throw error
    }
    return { kind: 'large', octets, look }
  }

  return {
    async write(chunk) {
      size += chunk.length
      if (waiting.kind === 'large') {
        waiting.look.update(chunk)
        return waiting.octets.write(chunk)
      }
      if (waiting.kind === 'too-large') return
      waiting.chunks.push(Buffer.from(chunk))
      if (size > MEMORY_LIMIT) waiting = await grow(waiting.chunks)
    },
    async finish() {
      if (waiting.kind === 'too-large') return null
      if (waiting.kind === 'memory') {
        const { chunks } = waiting
        const octets = concat(chunks)
        for (const chunk of chunks) if (chunk !== octets) giveBack(chunk)
        return readMemory(octets)
      }
      const { octets, look } = waiting
      await octets.finish()
      const stored: Stored = { octets: null, read: (from) => octets.read(from), discard: () => octets.close() }
      return createContent(look, size, stored)
    },
    async discard() {
      if (waiting.kind === 'large') await waiting.octets.close()
      waiting = { kind: 'too-large' }
    },
  }
}

/** The first octets with the whole header, which the first chunk mostly holds; null if it does not end. */
function untilHeaderEnd(chunks: readonly Uint8Array[]): Uint8Array | null {
  const [first] = chunks
  if (first !== undefined && findHeaderEnd(first) !== -1) return first
  const all = concat(chunks)
  return findHeaderEnd(all) === -1 ? null : all
}

/** The content of a message that is in memory already, and is the content's from now on; null if its header is too large. */
export function readMemory(octets: Uint8Array): Content | null {
  const { length } = octets
  const end = findHeaderEnd(octets)
  // Fields are parts of what they are read from, and are looked at when the message itself is gone.
  const header = parseHeader(Buffer.from(octets.subarray(0, end === -1 ? length : end + 2)))
  if (header === null) return null
  const look = createLook(header)
  look.update(octets)
  let discarded = false
  async function* read(from: number): AsyncGenerator<Uint8Array> {
    if (discarded) throw new Error('the octets of this message are no longer held')
    if (from < length) yield octets.subarray(from)
  }
  const discard = async () => {
    discarded = true
    giveBack(octets)
  }
  return createContent(look, length, { octets, read, discard })
}

type Stored = Pick<Content, 'octets' | 'discard'> & {
  /** From that offset to the end. */
  read(from: number): Lent
}

function createContent(look: Look, size: number, stored: Stored): Content {
  const { header } = look
  const leaves = header.fields.filter((field) => !reachesNoRecipient(field.key))
  const removed = leaves.length === header.fields.length ? 0 : header.end - total(leaves.map((field) => field.raw))
  const body = () => stored.read(header.end)
  async function* plaintext(): AsyncIterable<Uint8Array> {
    yield concat(leaves.map((field) => field.raw))
    yield* body()
  }
  return {
    header,
    size,
    plainSize: size - removed,
    bodySize: size - header.end,
    octets: stored.octets,
    ...look.finish(),
    accepted: () => stored.read(0),
    plaintext: removed === 0 ? () => stored.read(0) : plaintext,
    body,
    discard: stored.discard,
  }
}

/** What is to be known of a message, gathered while its octets pass once. */
type Look = {
  readonly header: Header
  /** The next octets, from the first of the header on. */
  update(chunk: Uint8Array): void
  finish(): Pick<Content, 'traceFreeDigest' | 'eightBit'>
}

function createLook(header: Header): Look {
  const traceFree = hashTraceFree(header)
  let eightBit = false
  let left = header.end
  return {
    header,
    update(chunk) {
      const body = left === 0 ? chunk : chunk.subarray(left)
      left = Math.max(0, left - chunk.length)
      if (body.length === 0) return
      traceFree.update(body)
      if (!eightBit) eightBit = !isAscii(body)
    },
    finish: () => ({ traceFreeDigest: traceFree.digest(), eightBit }),
  }
}

function hashTraceFree(header: Header): Hash {
  const hash = createHash('sha256')
  for (const field of header.fields) if (!isTrace(field.key)) hash.update(field.raw)
  return hash
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const [only] = chunks
  return chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks)
}

function total(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0)
}
