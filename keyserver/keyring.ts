import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { SignerKey } from '../audit/checkpoint.ts'
import type { SigningKeys } from '../protocol/gateway-api.ts'
import type { EnvelopeId, OrgId } from '../protocol/identifiers.ts'

/** The server's keys. None of them is ever in the database; all but the organization key lie wrapped in the key store. */
export interface Keyring {
  /** Makes, where needed, the newest bucket for what expires at this time. Its key is on disk when this resolves. */
  currentBucket(org: OrgId, expiresAt: number): Promise<Bucket>
  /** A bucket by its id, null if there is none or it was destroyed. */
  bucket(org: OrgId, id: string): Promise<Bucket | null>
  /** A new bucket for the same day, for rekeying. */
  freshBucket(org: OrgId, id: string): Promise<Bucket>
  destroyBucket(org: OrgId, id: string): Promise<void>
  /** Every bucket there is. */
  buckets(): Promise<readonly { readonly org: OrgId; readonly id: string }[]>
  /** The key of a person's side-car values; made where it is new, null if it was destroyed. */
  personKey(org: OrgId, pseudonym: string): Promise<Uint8Array | null>
  makePersonKeys(org: OrgId, pseudonyms: readonly string[]): Promise<ReadonlyMap<string, Uint8Array>>
  readonly signer: Signer
  /** 32 octets that only this server knows, one for each label; the same after a restart. For HMACs. */
  derive(label: string): Uint8Array
  /** Throws with plain words if the organization key or the key store does not answer. */
  health(): Promise<void>
}

/** `id` is the expiry day and a generation: `2026-12-22.1`. */
export type Bucket = { readonly id: string; readonly key: Uint8Array }

/** Ed25519: tickets, system stamps, checkpoints. */
export interface Signer {
  readonly kid: string
  readonly jwk: SigningKeys['keys'][number]
  /** 64 octets. */
  sign(octets: Uint8Array): Uint8Array
  /** The same key, as it signs checkpoints of the log of this origin. */
  forLog(origin: string): SignerKey
}

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
  const cipher = createCipheriv('aes-256-gcm', key, iv)
  cipher.setAAD(Buffer.from(aad, 'utf8'))
  return Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** Null if the key, the context or a single bit is wrong. */
export function openOctets(key: Uint8Array, sealed: Uint8Array, aad: string): Uint8Array | null {
  if (sealed.length < 28) return null
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12), { authTagLength: 16 })
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
