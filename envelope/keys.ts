import { EnvelopeError } from './fault.ts'
import type { Header } from './header.ts'
import { COMMIT, DERIVE } from './labels.ts'

/**
 * Keys of suite 0x0478 by WebCrypto: HKDF-SHA512 (RFC 5869) over the data key, salted with the message id, gives the key of the frames
 * and the commitment. `dataKey` is 32 octets, `messageId` 32. docs/format.md, section Keys.
 */
export async function deriveKeys(
  dataKey: Uint8Array,
  messageId: Uint8Array,
): Promise<{ readonly frames: CryptoKey; readonly commitment: Uint8Array<ArrayBuffer> }> {
  const material = await crypto.subtle.importKey('raw', new Uint8Array(dataKey), 'HKDF', false, [
    'deriveKey',
    'deriveBits',
  ])
  const hkdf = (info: Uint8Array<ArrayBuffer>) => ({
    name: 'HKDF',
    hash: 'SHA-512',
    salt: new Uint8Array(messageId),
    info,
  })
  const [commitment, frames] = await Promise.all([
    crypto.subtle.deriveBits(hkdf(COMMIT), material, 256),
    crypto.subtle.deriveKey(hkdf(DERIVE), material, { name: 'AES-GCM', length: 256 }, false, ['decrypt']),
  ])
  return { frames, commitment: new Uint8Array(commitment) }
}

/** The key of the frames, once the data key has proven to be this header's and the header to be unaltered. */
export async function unlockHeader(header: Header, dataKey: Uint8Array): Promise<CryptoKey> {
  if (dataKey.length !== 32) throw new EnvelopeError('wrong-key', `a data key of ${dataKey.length} octets`)
  const { frames, commitment } = await deriveKeys(dataKey, header.messageId)
  let difference = 0
  for (const [i, octet] of commitment.entries()) difference |= octet ^ (header.commitment[i] ?? 0)
  if (difference !== 0) throw new EnvelopeError('wrong-key', 'commitment')
  await decryptChecked(frames, new Uint8Array(12), header.authenticated, header.tag)
  return frames
}

/** AES-256-GCM decryption of `ciphertext || tag`; throws `altered` unless the tag fits. */
export async function decryptChecked(
  key: CryptoKey,
  iv: Uint8Array<ArrayBuffer>,
  additionalData: Uint8Array<ArrayBuffer>,
  sealed: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(
      await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData, tagLength: 128 }, key, sealed),
    )
  } catch {
    // WebCrypto gives one opaque OperationError for every failure here.
    throw new EnvelopeError('altered', 'authentication tag')
  }
}
