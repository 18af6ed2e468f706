import type { Writable } from 'node:stream'
import { constants, createDeflateRaw, deflateRawSync } from 'node:zlib'
import { type Context, contextPairs } from './context.ts'
import { EnvelopeError } from './fault.ts'
import { giveBack, type Lent } from './lent.ts'
import { beginMessage, type Message } from './message.ts'

/**
 * Octets of plaintext in a frame. Measured on two cores with Node 24: docs/format.md, section Frame length.
 */
export const FRAME_LENGTH = 256 * 1024

export type SealOptions = {
  /** 32 octets; left as they are. */
  readonly dataKey: Uint8Array
  /** 60 octets: the data key under the envelope's secret. */
  readonly wrappedKey: Uint8Array
  readonly context: Context
  /** Octets of plaintext in a frame, {@link FRAME_LENGTH} if absent. Smaller costs time, larger costs memory. */
  readonly frameLength?: number
}

/** The sealed copy of a message that lies in memory whole: one buffer. Throws `bad-request` for values outside their language. */
export function sealWhole(message: Uint8Array, options: SealOptions): Uint8Array {
  const plaintext = options.context.encoding === 'deflate' ? deflateRawSync(message, deflating) : message
  const sealing = begin(options)
  const { frameLength = FRAME_LENGTH } = options
  const octets = [...sealing.head]
  let at = 0
  for (; plaintext.length - at >= frameLength; at += frameLength) {
    octets.push(...sealing.frame([plaintext.subarray(at, at + frameLength)], false))
  }
  octets.push(...sealing.frame([plaintext.subarray(at)], true))
  const whole = Buffer.concat(octets)
  for (const piece of octets) giveBack(piece)
  return whole
}

/**
 * Seals a message as it streams, in the encoding that the context names, frame by frame: memory is bounded by a few frames, whatever the size.
 * An error of `source` ends the output with the same error.
 */
export async function* seal(source: Lent, options: SealOptions): AsyncGenerator<Uint8Array> {
  const { frameLength = FRAME_LENGTH } = options
  const sealing = begin(options)
  const content = Buffer.allocUnsafeSlow(frameLength)
  let size = 0
  // It waits for the first frame: whoever stops at it ends a source that has begun.
  let head = sealing.head
  const frame = (isLast: boolean): Uint8Array => {
    const pieces = sealing.frame([content.subarray(0, size)], isLast)
    const whole = Buffer.concat([...head, ...pieces])
    for (const piece of pieces) giveBack(piece)
    head = []
    size = 0
    return whole
  }
  try {
    for await (const piece of options.context.encoding === 'deflate' ? deflated(source) : source) {
      for (let at = 0; at < piece.length; ) {
        const part = piece.subarray(at, at + frameLength - size)
        content.set(part, size)
        size += part.length
        at += part.length
        if (size === frameLength) yield* lent(frame(false))
      }
    }
    yield* lent(frame(true))
  } finally {
    giveBack(content)
  }
}

function* lent(octets: Uint8Array): Generator<Uint8Array> {
  yield octets
  giveBack(octets)
}

/** `source` as raw DEFLATE. */
async function* deflated(source: Lent): AsyncGenerator<Uint8Array> {
  const packing = createDeflateRaw(deflating)
  const fed = feed(source, packing)
  // Whoever reads `packing` gets the error.
  fed.catch((error) => packing.destroy(error))
  try {
    for await (const piece of packing) yield* lent(piece)
  } finally {
    packing.destroy()
    // It works beside us: the piece that it may be reading stays lent until it has done with it.
    await fed.catch(() => undefined)
  }
}

async function feed(source: Lent, packing: Writable): Promise<void> {
  for await (const piece of source) {
    await new Promise<void>((resolve, reject) => {
      packing.write(piece, (error) => (error ? reject(error) : resolve()))
    })
    if (packing.destroyed) return
  }
  packing.end()
}

/** Huffman coding only: base64 shrinks by a quarter at three times the speed of level 1, and nothing else is worth its time. */
const deflating = { strategy: constants.Z_HUFFMAN_ONLY, level: 1, chunkSize: 64 * 1024 } as const

function begin({ context, dataKey, wrappedKey, frameLength = FRAME_LENGTH }: SealOptions): Message {
  if (dataKey.length !== 32) throw new EnvelopeError('bad-request', `a data key of ${dataKey.length} octets`)
  if (wrappedKey.length !== 60) throw new EnvelopeError('bad-request', `a wrapped key of ${wrappedKey.length} octets`)
  const encryptionContext = Object.fromEntries(contextPairs(context))
  return beginMessage({ dataKey, wrappedKey, envelope: context.envelope, encryptionContext, frameLength })
}
