import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import type { EnvelopeId, OrgId } from '../protocol/identifiers.ts'

/**
 * The envelope's two halves (docs/format.md). wrappedKey = iv (12) || AES-256-GCM(secret, dataKey) || tag (16): 60 octets.
 * The context comes from the server's own row, never from what was presented.
 */
export type WrapContext = { readonly org: OrgId; readonly envelope: EnvelopeId; readonly termsHash: string }
export type SecretContext = { readonly org: OrgId; readonly envelope: EnvelopeId; readonly bucket: string }

export function wrapDataKey(secret: Uint8Array, dataKey: Uint8Array, context: WrapContext): Uint8Array {
  return sealOctets(secret, dataKey, wrapAad(context))
}

/** The data key, or null if the wrapped key is not of this envelope under this secret. */
export function unwrapDataKey(secret: Uint8Array, wrapped: Uint8Array, context: WrapContext): Uint8Array | null {
  return wrapped.length === 60 ? openOctets(secret, wrapped, wrapAad(context)) : null
}

/** The envelope secret as it stands in its row, sealed under its bucket's key. */
export function sealSecret(bucketKey: Uint8Array, secret: Uint8Array, context: SecretContext): Uint8Array {
  return sealOctets(bucketKey, secret, secretAad(context))
}

export function openSecret(bucketKey: Uint8Array, sealed: Uint8Array, context: SecretContext): Uint8Array | null {
  return sealed.length === 60 ? openOctets(bucketKey, sealed, secretAad(context)) : null
}

/** iv (12, random) || AES-256-GCM || tag (16). `iv` is for known answers only. */
export function sealOctets(
  key: Uint8Array,
  plain: Uint8Array,
  aad: string,
  iv: Uint8Array = randomBytes(12),
): Uint8Array {
  // Given octets, Node takes ten times as long to make a cipher.
  const cipher = createCipheriv('aes-256-gcm', createSecretKey(key), iv)
  cipher.setAAD(Buffer.from(aad, 'utf8'))
  return Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** Null if the key, the context or a single bit is wrong. */
export function openOctets(key: Uint8Array, sealed: Uint8Array, aad: string): Uint8Array | null {
  if (sealed.length < 28) return null
  const decipher = createDecipheriv('aes-256-gcm', createSecretKey(key), sealed.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(Buffer.from(aad, 'utf8'))
  decipher.setAuthTag(sealed.subarray(sealed.length - 16))
  const head = decipher.update(sealed.subarray(12, sealed.length - 16))
  try {
    return Buffer.concat([head, decipher.final()])
  } catch {
    return null
  }
}

function wrapAad(context: WrapContext): string {
  return `sealpost/wrap/v1\n${context.org}\n${context.envelope}\n${context.termsHash}`
}

function secretAad(context: SecretContext): string {
  return `sealpost/secret/v1\n${context.org}\n${context.envelope}\n${context.bucket}`
}
