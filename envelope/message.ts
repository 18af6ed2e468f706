import { getEncryptionInfo } from '@aws-crypto/encrypt-node/build/main/src/encrypt_stream.js'
import { getEncryptFrame } from '@aws-crypto/encrypt-node/build/main/src/framed_encrypt_stream.js'
import {
  AlgorithmSuiteIdentifier,
  CommitmentPolicy,
  NodeAlgorithmSuite,
  NodeDefaultCryptographicMaterialsManager,
} from '@aws-crypto/material-management-node'
import { createOneKeyring, type OneKey } from './keyring.ts'

/**
 * One message of the Encryption SDK as it is written: head, frames, no footer (the suite signs nothing). Keys, header and frames are the
 * SDK's own; its streams, which cost more than all of them, are left out. It leans on insides of exactly the version that package.json pins;
 * test/envelope opens what comes out with the SDK itself.
 */
export type Message = {
  readonly head: readonly Uint8Array[]
  /** The next frame around this content: exactly the frame length, or up to that in the last one, which must come and may be empty. */
  frame(content: readonly Uint8Array[], isLast: boolean): Uint8Array[]
  /** Forgets the key. */
  dispose(): void
}

export type MessageOptions = {
  readonly key: OneKey
  readonly encryptionContext: Readonly<Record<string, string>>
  /** Octets. */
  readonly frameLength: number
}

const suite = new NodeAlgorithmSuite(AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY)
const commitmentPolicy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT

/** Begins a message. Rejects with what the SDK says where a key does not fit. */
export async function beginMessage({ key, encryptionContext, frameLength }: MessageOptions): Promise<Message> {
  const manager = new NodeDefaultCryptographicMaterialsManager(createOneKeyring(key))
  const material = await manager.getEncryptionMaterials({ suite, encryptionContext, commitmentPolicy })
  const { rawHeader, messageHeader, getCipher, dispose } = getEncryptionInfo(material, frameLength)
  let sequenceNumber = 0
  return {
    head: rawHeader,
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
    dispose,
  }
}
