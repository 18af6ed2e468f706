import { EnvelopeError } from './fault.ts'

/**
 * The header of an Encryption SDK message, version 2, suite 0x0478: docs/format.md, section Header.
 * Reads only the canonical form, so that one header has one encoding.
 */
export type Header = {
  readonly messageId: Uint8Array<ArrayBuffer>
  /** The encryption context in the order of the header: by the octets of the keys. */
  readonly pairs: readonly (readonly [string, string])[]
  readonly encryptedDataKeys: readonly EncryptedDataKey[]
  readonly frameLength: number
  /** 32 octets that only the right data key gives. */
  readonly commitment: Uint8Array<ArrayBuffer>
  /** What the header's tag authenticates. */
  readonly authenticated: Uint8Array<ArrayBuffer>
  readonly tag: Uint8Array<ArrayBuffer>
  /** Octets of the message up to the first frame. */
  readonly length: number
}

export type EncryptedDataKey = {
  readonly providerId: string
  readonly providerInfo: string
  readonly ciphertext: Uint8Array<ArrayBuffer>
}

/** What a reader accepts of a header. The product's own limits are in `reader.ts`. */
export type HeaderLimits = {
  /** Octets of the whole header with its tag. */
  readonly header: number
  readonly encryptedDataKeys: number
  /** Octets of plaintext in a frame. */
  readonly frameLength: number
}

const SUITE = 0x0478
const FRAMED = 2
const TAG = 16

/** Thrown inside when the octets end before the header does. */
const more = Symbol('more')

/**
 * The header at the start of `octets`, or null if more octets are needed to tell. Throws an {@link EnvelopeError} as soon as what is
 * there cannot become a header within `limits`.
 */
export function parseHeader(octets: Uint8Array, limits: HeaderLimits): Header | null {
  const cursor = createCursor(octets)
  try {
    return parse(cursor, octets, limits)
  } catch (error) {
    if (error !== more) throw error
    if (octets.length >= limits.header) throw new EnvelopeError('header-too-large', `more than ${limits.header} octets`)
    return null
  }
}

function parse(cursor: Cursor, octets: Uint8Array, limits: HeaderLimits): Header {
  parseVersion(cursor)
  const messageId = cursor.take(32)
  const pairs = parseContext(cursor, limits)
  const encryptedDataKeys = parseKeys(cursor, limits)
  if (cursor.uint8() !== FRAMED) throw new EnvelopeError('malformed-header', 'content type is not framed')
  const frameLength = cursor.uint32()
  if (frameLength < 1 || frameLength > limits.frameLength) {
    throw new EnvelopeError('malformed-header', `frame length ${frameLength}`)
  }
  const commitment = cursor.take(32)
  const authenticated = octets.slice(0, cursor.position())
  const tag = cursor.take(TAG)
  const length = cursor.position()
  if (length > limits.header) throw new EnvelopeError('header-too-large', `${length} octets`)
  return { messageId, pairs, encryptedDataKeys, frameLength, commitment, authenticated, tag, length }
}

function parseVersion(cursor: Cursor): void {
  const version = cursor.uint8()
  // Version 1 messages name their suite too, behind one octet for the type.
  if (version === 1) {
    if (cursor.uint8() !== 0x80) throw new EnvelopeError('not-an-envelope')
    throw new EnvelopeError('unsupported-suite', `version 1, ${suiteName(cursor.uint16())}`)
  }
  if (version === 3) throw new EnvelopeError('unsupported-version', 'version 3')
  if (version !== 2) throw new EnvelopeError('not-an-envelope', `first octet ${version}`)
  const suite = cursor.uint16()
  if (suite !== SUITE) throw new EnvelopeError('unsupported-suite', suiteName(suite))
}

function suiteName(suite: number): string {
  return `suite 0x${suite.toString(16).padStart(4, '0')}`
}

function parseContext(cursor: Cursor, limits: HeaderLimits): [string, string][] {
  const length = cursor.uint16()
  if (length === 0) return []
  if (length > limits.header) throw new EnvelopeError('header-too-large', `context of ${length} octets`)
  const block = createCursor(cursor.take(length))
  try {
    return parsePairs(block, length)
  } catch (error) {
    if (error === more) throw new EnvelopeError('malformed-header', 'context is shorter than it says')
    throw error
  }
}

function parsePairs(block: Cursor, length: number): [string, string][] {
  const count = block.uint16()
  if (count === 0) throw new EnvelopeError('not-canonical', 'context of no keys has a count')
  const pairs: [string, string][] = []
  let last: Uint8Array | null = null
  for (let i = 0; i < count; i++) {
    const key = block.take(block.uint16())
    if (last !== null && compare(last, key) >= 0) {
      throw new EnvelopeError('not-canonical', 'context keys are not sorted and unique')
    }
    last = key
    pairs.push([utf8(key), utf8(block.take(block.uint16()))])
  }
  if (block.position() !== length) throw new EnvelopeError('malformed-header', 'context is longer than its keys')
  return pairs
}

function parseKeys(cursor: Cursor, limits: HeaderLimits): EncryptedDataKey[] {
  const count = cursor.uint16()
  if (count < 1 || count > limits.encryptedDataKeys) {
    throw new EnvelopeError('malformed-header', `${count} encrypted data keys`)
  }
  return Array.from({ length: count }, () => {
    const providerId = utf8(cursor.take(cursor.uint16()))
    // Raw keyrings of other programs put octets here; ours is ASCII, and is compared as such.
    const providerInfo = latin1(cursor.take(cursor.uint16()))
    return { providerId, providerInfo, ciphertext: cursor.take(cursor.uint16()) }
  })
}

type Cursor = ReturnType<typeof createCursor>

function createCursor(octets: Uint8Array) {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength)
  let at = 0
  const advance = (count: number): number => {
    if (at + count > octets.length) throw more
    at += count
    return at - count
  }
  return {
    position: () => at,
    uint8: () => view.getUint8(advance(1)),
    uint16: () => view.getUint16(advance(2)),
    uint32: () => view.getUint32(advance(4)),
    take: (count: number): Uint8Array<ArrayBuffer> => new Uint8Array(octets.subarray(advance(count), at)),
  }
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

function utf8(octets: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets)
  } catch {
    throw new EnvelopeError('malformed-header', 'text is not UTF-8')
  }
}

function latin1(octets: Uint8Array): string {
  return Array.from(octets, (octet) => String.fromCharCode(octet)).join('')
}
