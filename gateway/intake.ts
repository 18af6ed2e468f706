import { isAscii } from 'node:buffer'
import { createHash, type Hash } from 'node:crypto'
import type { Address, OrgId } from '../protocol/identifiers.ts'
import type { OutboundFacts } from '../rulebook/index.ts'
import type { MessageWish } from './dsn.ts'
import { findHeaderEnd, type Header, isTrace, parseHeader, reachesNoRecipient } from './header.ts'
import { createScratch, type Scratch } from './scratch.ts'

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
  /** SHA-256 of the octets as accepted. */
  readonly digest: Uint8Array
  /** SHA-256 without the fields that differ between attempts (`isTrace` in header.ts). */
  readonly traceFreeDigest: Uint8Array
  /** The accepted octets where they wait in memory (up to 1 MiB); null where they lie in the scratch file. */
  readonly octets: Uint8Array | null
  /** The accepted octets, as often as asked. Throws if the scratch file was altered. */
  accepted(): AsyncIterable<Uint8Array>
  /** What is sealed: the accepted octets less the fields that must reach no recipient (`reachesNoRecipient` in header.ts). */
  plaintext(): AsyncIterable<Uint8Array>
  /** From `header.end` on: the empty line that closes the header, and the body. */
  body(): AsyncIterable<Uint8Array>
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

/** Octets that wait in memory; more goes to a scratch file. */
export const MEMORY_LIMIT = 1024 * 1024

/** Takes in one message's octets as they come. */
export type ContentWriter = {
  /** The octets are kept, not copied: they must not be overwritten. Resolves when more may come; rejects if the scratch file cannot be written. */
  write(chunk: Uint8Array): Promise<void>
  /** What came in; null, with everything freed, if the header is too large or has too many fields: 552 5.3.4. */
  finish(): Promise<Content | null>
  /** Frees memory and scratch file of a message that will not be finished. */
  discard(): Promise<void>
}

type Waiting =
  | { readonly kind: 'memory'; readonly chunks: Uint8Array[] }
  | { readonly kind: 'scratch'; readonly scratch: Scratch; readonly digests: Digests }
  | { readonly kind: 'too-large' }

/** `folder` gets the scratch file of a large message, unlinked as soon as it is open. */
export function createContentWriter(folder: string): ContentWriter {
  let waiting: Waiting = { kind: 'memory', chunks: [] }
  let size = 0

  async function spill(chunks: readonly Uint8Array[]): Promise<Waiting> {
    const start = concat(chunks)
    // The header may be no larger than what memory holds, so it has ended by now or never will.
    if (findHeaderEnd(start) === -1) return { kind: 'too-large' }
    const header = parseHeader(start)
    if (header === null) return { kind: 'too-large' }
    const scratch = await createScratch(folder)
    // The fields would keep the whole of `start` in memory.
    const own = parseHeader(start.slice(0, header.bodyStart)) ?? header
    const digests = createDigests(own)
    digests.update(start, header.end)
    await scratch.write(start)
    return { kind: 'scratch', scratch, digests }
  }

  return {
    async write(chunk) {
      size += chunk.length
      if (waiting.kind === 'scratch') {
        waiting.digests.update(chunk, 0)
        return waiting.scratch.write(chunk)
      }
      if (waiting.kind === 'too-large') return
      waiting.chunks.push(chunk)
      if (size > MEMORY_LIMIT) waiting = await spill(waiting.chunks)
    },
    async finish() {
      if (waiting.kind === 'too-large') return null
      if (waiting.kind === 'memory') return readMemory(concat(waiting.chunks))
      await waiting.scratch.finish()
      const { scratch, digests } = waiting
      const { header } = digests
      const stored: Stored = { octets: null, read: (from) => scratch.read(from, size), discard: () => scratch.close() }
      return createContent(header, size, digests, stored)
    },
    async discard() {
      if (waiting.kind === 'scratch') await waiting.scratch.close()
      waiting = { kind: 'too-large' }
    },
  }
}

/** The content of a message that is in memory already; null if its header is too large. */
export function readMemory(octets: Uint8Array): Content | null {
  const header = parseHeader(octets)
  if (header === null) return null
  const digests = createDigests(header)
  digests.update(octets, header.end)
  const stored: Stored = { octets, read: (from) => one(octets.subarray(from)), discard: async () => undefined }
  return createContent(header, octets.length, digests, stored)
}

type Stored = {
  readonly octets: Uint8Array | null
  /** From that offset to the end. */
  read(from: number): AsyncIterable<Uint8Array>
  discard(): Promise<void>
}

function createContent(header: Header, size: number, digests: Digests, stored: Stored): Content {
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
    ...digests.finish(),
    accepted: () => stored.read(0),
    plaintext: removed === 0 ? () => stored.read(0) : plaintext,
    body,
    discard: stored.discard,
  }
}

type Digests = {
  readonly header: Header
  /** The next octets; those from `bodyFrom` on belong to the body. */
  update(chunk: Uint8Array, bodyFrom: number): void
  finish(): Pick<Content, 'digest' | 'traceFreeDigest' | 'eightBit'>
}

function createDigests(header: Header): Digests {
  const whole = createHash('sha256')
  const traceFree = hashTraceFree(header)
  let eightBit = false
  return {
    header,
    update(chunk, bodyFrom) {
      const body = bodyFrom === 0 ? chunk : chunk.subarray(bodyFrom)
      whole.update(chunk)
      traceFree.update(body)
      if (!eightBit) eightBit = !isAscii(body)
    },
    finish: () => ({ digest: whole.digest(), traceFreeDigest: traceFree.digest(), eightBit }),
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

async function* one(octets: Uint8Array): AsyncIterable<Uint8Array> {
  if (octets.length > 0) yield octets
}
