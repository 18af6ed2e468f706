import { fromBase64url, sha256 } from './base64url.ts'

/** The page's half of the key agreement for one release: P-256, non-extractable, never kept. */
export type AgreementKey = {
  readonly privateKey: CryptoKey
  readonly publicKey: { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string }
}

const text = new TextEncoder()
const P256 = { name: 'ECDH', namedCurve: 'P-256' } as const

export async function createAgreementKey(): Promise<AgreementKey> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(P256, false, ['deriveBits'])
  const { x = '', y = '' } = await crypto.subtle.exportKey('jwk', publicKey)
  return { privateKey, publicKey: { kty: 'EC', crv: 'P-256', x, y } }
}

/**
 * The plaintext of a release (docs/format.md, section Release): a compact JWE with ECDH-ES and A256GCM, and no other, whose `apv` binds
 * it to this envelope and this request. Null if anything about it is not as expected.
 */
export async function openJwe(
  jwe: string,
  key: AgreementKey,
  bound: { readonly envelope: string; readonly proof: string },
): Promise<unknown> {
  const [head = '', encryptedKey, iv64 = '', sealed64 = '', tag64 = '', ...more] = jwe.split('.')
  const [iv, sealed, tag] = [iv64, sealed64, tag64].map(fromBase64url)
  const apv = await sha256(text.encode(`${bound.envelope}.${bound.proof}`))
  const epk = readHeader(head, apv)
  if (epk === null || more.length > 0 || encryptedKey !== '') return null
  if (!iv || !sealed || !tag || iv.length !== 12 || tag.length !== 16) return null
  try {
    const content = await contentKey(key, epk, apv)
    const plain = await crypto.subtle.decrypt(
      { name: 'AES-GCM', iv, additionalData: text.encode(head), tagLength: 128 },
      content,
      join(sealed, tag),
    )
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plain))
  } catch {
    // A point off the curve, a tag that does not fit, or no JSON: to the page all are one.
    return null
  }
}

function readHeader(head: string, apv: string): JsonWebKey | null {
  const octets = fromBase64url(head)
  if (octets === null) return null
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder().decode(octets))
  } catch {
    return null
  }
  if (typeof header !== 'object' || header === null) return null
  const { alg, enc, epk, apv: given, ...others } = header as Record<string, unknown>
  if (alg !== 'ECDH-ES' || enc !== 'A256GCM' || given !== apv || Object.keys(others).length > 0) return null
  if (typeof epk !== 'object' || epk === null) return null
  const { kty, crv, x, y } = epk as Record<string, unknown>
  if (kty !== 'EC' || crv !== 'P-256' || typeof x !== 'string' || typeof y !== 'string') return null
  return { kty, crv, x, y }
}

/** ECDH, then Concat KDF (RFC 7518 section 4.6.2) for A256GCM with an empty apu. */
async function contentKey(key: AgreementKey, epk: JsonWebKey, apv: string): Promise<CryptoKey> {
  const peer = await crypto.subtle.importKey('jwk', epk, P256, false, [])
  const shared = new Uint8Array(await crypto.subtle.deriveBits({ name: 'ECDH', public: peer }, key.privateKey, 256))
  const party = fromBase64url(apv) ?? new Uint8Array()
  const algorithm = text.encode('A256GCM')
  const input = [
    uint32(1),
    shared,
    uint32(algorithm.length),
    algorithm,
    uint32(0),
    uint32(party.length),
    party,
    uint32(256),
  ]
  const derived = await crypto.subtle.digest('SHA-256', join(...input))
  return crypto.subtle.importKey('raw', derived, 'AES-GCM', false, ['decrypt'])
}

function uint32(value: number): Uint8Array {
  const octets = new Uint8Array(4)
  new DataView(octets.buffer).setUint32(0, value)
  return octets
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
