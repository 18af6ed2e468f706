import { type Context, readContext } from './context.ts'
import { EnvelopeError } from './fault.ts'
import { type Header, type HeaderLimits, parseHeader } from './header.ts'
import { inflateWithin } from './inflate.ts'
import { decryptChecked, unlockHeader } from './keys.ts'
import { createOctetQueue, type OctetQueue } from './queue.ts'

/**
 * Reads envelopes by WebCrypto alone, in a browser or in Node. Nothing of the plaintext is given out before all of it is verified:
 * docs/format.md, section Reading.
 */

/** What is accepted. Other profiles than {@link sealpostProfile} are for the SDK's published test vectors. */
export type Profile = {
  readonly limits: HeaderLimits
  /** Judges a well-formed header before any key is asked for, and says how the plaintext is coded. Throws to refuse. */
  readonly encodingOf: (header: Header) => 'identity' | 'deflate'
}

/** The only profile of the product: one encrypted data key, ours, with our context. */
export const sealpostProfile: Profile = {
  limits: { header: 1024, encryptedDataKeys: 1, frameLength: 1024 * 1024 },
  encodingOf: (header) => identify(header).context.encoding,
}

/** What a sealed copy says about itself before any key is asked for; authenticated only once it has been opened. */
export type Identity = {
  readonly context: Context
  /** 60 octets, to be sent with the request for release. */
  readonly wrappedKey: Uint8Array<ArrayBuffer>
}

export type Unlocked = {
  /** 32 octets. */
  readonly dataKey: Uint8Array
  /** The confirmed size of the message, octets: inflating stops there, and any other size is refused. */
  readonly plainSize: number
}

export type ReadOptions = {
  /** Asked once, when the header has been read and judged. */
  readonly unlock: (header: Header) => Promise<Unlocked> | Unlocked
  /** Sealed octets read and verified so far. */
  readonly onProgress?: (octets: number) => void
  readonly profile?: Profile
}

/** Context and wrapped key of a header that fits the product's profile. Throws `malformed-header` for any other. */
export function identify(header: Header): Identity {
  const [key] = header.encryptedDataKeys
  const context = readContext(header.pairs)
  if (key?.providerId !== 'sealpost') throw new EnvelopeError('malformed-header', 'provider id')
  if (key.providerInfo !== context.envelope) throw new EnvelopeError('malformed-header', 'provider info')
  if (key.ciphertext.length !== 60) throw new EnvelopeError('malformed-header', 'wrapped key')
  return { context, wrappedKey: key.ciphertext }
}

/** The identity of the sealed copy that `octets` holds, or begins. Throws `truncated` if the header is not whole. */
export function identifyOctets(octets: Uint8Array): Identity {
  const header = parseHeader(octets.subarray(0, sealpostProfile.limits.header), sealpostProfile.limits)
  if (header === null) throw new EnvelopeError('truncated', 'header')
  return identify(header)
}

/**
 * Opens a sealed copy. Resolves to the whole message once every octet has been verified; rejects with an {@link EnvelopeError}
 * otherwise. Reads `source` in pieces of any size.
 */
export async function open(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { unlock, onProgress, profile = sealpostProfile }: ReadOptions,
): Promise<{ readonly header: Header; readonly message: Uint8Array<ArrayBuffer> }> {
  const queue = createOctetQueue(source)
  const header = await readHeader(queue, profile)
  const encoding = profile.encodingOf(header)
  const { dataKey, plainSize } = await unlock(header)
  const key = await unlockHeader(header, dataKey)
  // Raw DEFLATE never grows a message by more than this; it bounds the frames that are kept.
  const ceiling = encoding === 'identity' ? plainSize : plainSize + Math.ceil(plainSize / 1000) + 64 * 1024
  const pieces = await readFrames(queue, { header, key, ceiling, onProgress })
  const message = encoding === 'identity' ? join(pieces) : await inflateWithin(pieces, plainSize)
  if (message.length !== plainSize) throw new EnvelopeError('wrong-size', `${message.length}, confirmed ${plainSize}`)
  return { header, message }
}

async function readHeader(queue: OctetQueue, profile: Profile): Promise<Header> {
  for (;;) {
    const header = parseHeader(queue.peek(profile.limits.header), profile.limits)
    if (header !== null) {
      await queue.take(header.length)
      return header
    }
    if (!(await queue.fill())) throw new EnvelopeError('truncated', 'header')
  }
}

type Frames = {
  readonly header: Header
  readonly key: CryptoKey
  readonly ceiling: number
  readonly onProgress: ((octets: number) => void) | undefined
}

async function readFrames(
  queue: OctetQueue,
  { header, key, ceiling, onProgress }: Frames,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const pieces: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  for (let sequence = 1; ; sequence++) {
    const frame = await readFrame(queue, header, sequence)
    size += frame.sealed.length - TAG
    if (size > ceiling) throw new EnvelopeError('wrong-size', `more than ${ceiling} octets`)
    pieces.push(await decryptChecked(key, frame.iv, frameData(header, frame, sequence), frame.sealed))
    onProgress?.(queue.taken())
    if (frame.final) break
  }
  if (!(await queue.ended())) throw new EnvelopeError('trailing-octets')
  return pieces
}

type Frame = {
  readonly final: boolean
  readonly iv: Uint8Array<ArrayBuffer>
  /** Ciphertext and tag. */
  readonly sealed: Uint8Array<ArrayBuffer>
}

const FINAL = 0xffffffff
const TAG = 16

async function readFrame(queue: OctetQueue, header: Header, sequence: number): Promise<Frame> {
  const first = uint32(await queue.take(4))
  const final = first === FINAL
  const number = final ? uint32(await queue.take(4)) : first
  if (number !== sequence || sequence === FINAL) throw new EnvelopeError('altered', `frame ${number} for ${sequence}`)
  const iv = await queue.take(12)
  // The IV is a function of the sequence number: any other is not canonical.
  const view = new DataView(iv.buffer)
  if (view.getUint32(0) !== 0 || view.getUint32(4) !== 0 || view.getUint32(8) !== sequence) {
    throw new EnvelopeError('altered', `iv of frame ${sequence}`)
  }
  const length = final ? uint32(await queue.take(4)) : header.frameLength
  if (length > header.frameLength) throw new EnvelopeError('altered', 'final frame longer than a frame')
  return { final, iv, sealed: await queue.take(length + TAG) }
}

const REGULAR_LABEL = new TextEncoder().encode('AWSKMSEncryptionClient Frame')
const FINAL_LABEL = new TextEncoder().encode('AWSKMSEncryptionClient Final Frame')

function frameData(header: Header, frame: Frame, sequence: number): Uint8Array<ArrayBuffer> {
  const label = frame.final ? FINAL_LABEL : REGULAR_LABEL
  const data = new Uint8Array(32 + label.length + 12)
  data.set(header.messageId)
  data.set(label, 32)
  const view = new DataView(data.buffer, 32 + label.length)
  view.setUint32(0, sequence)
  view.setUint32(8, frame.sealed.length - TAG)
  return data
}

function uint32(octets: Uint8Array<ArrayBuffer>): number {
  return new DataView(octets.buffer).getUint32(0)
}

function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}
