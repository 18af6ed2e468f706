import { createCipheriv, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto'
import { getEncryptFrame } from '@aws-crypto/encrypt-node/build/main/src/framed_encrypt_stream.js'
import { AlgorithmSuiteIdentifier, EncryptedDataKey, NodeAlgorithmSuite } from '@aws-crypto/material-management-node'
import { serializeFactory } from '@aws-crypto/serialize'
import { COMMIT, DERIVE } from './labels.ts'

/**
 * One message of the Encryption SDK as it is written: head, frames, no footer (the suite signs nothing). Header and frames are the SDK's own, its
 * streams and its way to the keys, which cost more than all the rest, are left out. It leans on insides of exactly the version that package.json
 * pins; test/envelope opens what comes out with the SDK itself.
 */
export type Message = {
  readonly head: readonly Uint8Array[]
  /** The next frame around this content: exactly the frame length, or up to that in the last one, which must come and may be empty. */
  frame(content: readonly Uint8Array[], isLast: boolean): Uint8Array[]
}

export type MessageOptions = {
  /** 32 octets; left as they are. */
  readonly dataKey: Uint8Array
  /** As it stands in the header, and whose it is. */
  readonly wrappedKey: Uint8Array
  readonly envelope: string
  readonly encryptionContext: Readonly<Record<string, string>>
  /** Octets. */
  readonly frameLength: number
}

const PROVIDER_ID = 'sealpost'
const CIPHER = 'aes-256-gcm'
const MESSAGE_ID = 32
const suite = new NodeAlgorithmSuite(AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY)
const { buildMessageHeader, headerAuthIv, serializeMessageHeader } = serializeFactory(
  (text) => Buffer.from(text, 'utf8'),
  { utf8Sorting: true },
)

/** Begins a message. */
export function beginMessage(options: MessageOptions): Message {
  const { dataKey, wrappedKey, envelope, encryptionContext, frameLength } = options
  const messageId = randomBytes(MESSAGE_ID)
  const { frames, commitment } = keysOf(dataKey, messageId)
  const getCipher = (iv: Uint8Array) => createCipheriv(CIPHER, frames, iv)
  const encryptedDataKey = new Uint8Array(wrappedKey)
  const messageHeader = buildMessageHeader({
    ...{ suite, encryptionContext, messageId, frameLength, suiteData: commitment },
    encryptedDataKeys: [new EncryptedDataKey({ providerId: PROVIDER_ID, providerInfo: envelope, encryptedDataKey })],
  })
  const header = serializeMessageHeader(messageHeader)
  const check = getCipher(headerAuthIv(suite.ivLength)).setAAD(header)
  check.final()
  let sequenceNumber = 0
  return {
    head: [header, check.getAuthTag()],
    frame(content, isLast) {
      const pieces = content.map((piece) => Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength))
      const contentLength = pieces.reduce((sum, piece) => sum + piece.length, 0)
      sequenceNumber += 1
      const pendingFrame = { content: pieces, contentLength, sequenceNumber }
      const { bodyHeader, cipher } = getEncryptFrame({
        ...{ pendingFrame, messageHeader, getCipher, suite },
        isFinalFrame: isLast,
      })
      const sealed = pieces.map((piece) => cipher.update(piece))
      // GCM keeps nothing back; its last call makes the tag.
      cipher.final()
      return [bodyHeader, ...sealed, cipher.getAuthTag()]
    },
  }
}

/** docs/format.md, section Keys. */
function keysOf(
  dataKey: Uint8Array,
  messageId: Uint8Array,
): { readonly frames: KeyObject; readonly commitment: Uint8Array } {
  const secret = createSecretKey(dataKey)
  const derive = (info: Uint8Array) => new Uint8Array(hkdfSync('sha512', secret, messageId, info, 32))
  return { frames: createSecretKey(derive(DERIVE)), commitment: derive(COMMIT) }
}
