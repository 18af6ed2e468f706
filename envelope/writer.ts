import { pipeline } from 'node:stream'
import { constants, createDeflateRaw, deflateRawSync } from 'node:zlib'
import { AlgorithmSuiteIdentifier, buildEncrypt, CommitmentPolicy } from '@aws-crypto/client-node'
import { type Context, contextPairs } from './context.ts'
import { EnvelopeError } from './fault.ts'
import { createOneKeyring } from './keyring.ts'

/**
 * Octets of plaintext in a frame. Measured on two cores with Node 24: docs/format.md, section Frame length.
 */
export const FRAME_LENGTH = 256 * 1024

/** Octets of a piece that is worth a call of its own. */
const SHORT = 16 * 1024

export type SealOptions = {
  /** 32 octets; left as they are. */
  readonly dataKey: Uint8Array
  /** 60 octets: the data key under the envelope's secret. */
  readonly wrappedKey: Uint8Array
  readonly context: Context
  /** Octets of plaintext in a frame, {@link FRAME_LENGTH} if absent. Smaller costs time, larger costs memory. */
  readonly frameLength?: number
}

const { encrypt, encryptStream } = buildEncrypt({
  commitmentPolicy: CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
  maxEncryptedDataKeys: 1,
})

/** The sealed copy of a message that lies in memory whole: one call, one buffer. Throws `bad-request` for values outside their language. */
export async function sealWhole(message: Uint8Array, options: SealOptions): Promise<Uint8Array> {
  const request = encryptionRequest(options)
  const plaintext = options.context.encoding === 'deflate' ? deflateRawSync(message, deflating) : message
  const { result } = await encrypt(createOneKeyring(options), plaintext, request)
  return result
}

/**
 * Seals a message as it streams, in the encoding that the context names. Memory is bounded by a few frames, whatever the size; what fits
 * in one frame goes the short way of {@link sealWhole}. An error of `source` ends the output with the same error.
 */
export async function* seal(source: AsyncIterable<Uint8Array>, options: SealOptions): AsyncGenerator<Uint8Array> {
  const frameLength = options.frameLength ?? FRAME_LENGTH
  const pieces = inPieces(source)
  try {
    const first: Uint8Array[] = []
    let size = 0
    while (size <= frameLength) {
      const next = await pieces.next()
      if (next.done === true) {
        yield await sealWhole(Buffer.concat(first, size), options)
        return
      }
      first.push(next.value)
      size += next.value.length
    }
    const plain = resume(first, pieces)
    yield* sealPieces(options.context.encoding === 'deflate' ? deflated(plain) : plain, options)
  } finally {
    await pieces.return(undefined)
  }
}

/**
 * Feeds the SDK's stream piece by piece and hands on what has come out by then. The stream is never destroyed: it is of an older kind
 * that answers this with an uncaught exception. Left alone, it holds nothing that outlives it.
 */
async function* sealPieces(pieces: AsyncIterable<Uint8Array>, options: SealOptions): AsyncGenerator<Uint8Array> {
  const sealing = encryptStream(createOneKeyring(options), encryptionRequest(options))
  let ready: Uint8Array[] = []
  sealing.on('data', (octets: Uint8Array) => ready.push(octets))
  const ended = new Promise<void>((resolve, reject) => {
    sealing.once('end', resolve)
    sealing.on('error', reject)
  })
  for await (const piece of pieces) {
    await Promise.race([new Promise((resolve) => sealing.write(piece, resolve)), ended])
    const octets = ready
    ready = []
    yield* octets
  }
  sealing.end()
  await ended
  yield* ready
}

/** `source` as raw DEFLATE. */
function deflated(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  const packing = createDeflateRaw(deflating)
  // Whoever reads `packing` gets the error; the callback only keeps it from being thrown a second time.
  pipeline(source, packing, () => undefined)
  return packing
}

/** Huffman coding only: base64 shrinks by a quarter at three times the speed of level 1, and nothing else is worth its time. */
const deflating = { strategy: constants.Z_HUFFMAN_ONLY, level: 1, chunkSize: 64 * 1024 } as const

function encryptionRequest({ context, dataKey, wrappedKey, frameLength = FRAME_LENGTH }: SealOptions) {
  if (dataKey.length !== 32) throw new EnvelopeError('bad-request', `a data key of ${dataKey.length} octets`)
  if (wrappedKey.length !== 60) throw new EnvelopeError('bad-request', `a wrapped key of ${wrappedKey.length} octets`)
  return {
    suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    encryptionContext: Object.fromEntries(contextPairs(context)),
    frameLength,
  }
}

/** `source` with its short pieces put together: the SDK takes its time over each. Long ones are not copied. */
async function* inPieces(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, undefined, undefined> {
  let short: Uint8Array[] = []
  let waiting = 0
  for await (const piece of source) {
    const long = piece.length >= SHORT
    if (!long) {
      short.push(piece)
      waiting += piece.length
    }
    if (waiting > 0 && (long || waiting >= SHORT)) {
      yield Buffer.concat(short, waiting)
      short = []
      waiting = 0
    }
    if (long) yield piece
  }
  if (waiting > 0) yield Buffer.concat(short, waiting)
}

async function* resume(
  head: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array, unknown, undefined>,
): AsyncGenerator<Uint8Array> {
  yield* head
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value
}
