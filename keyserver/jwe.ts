import { createCipheriv, createECDH, createHash, ECDH, randomBytes } from 'node:crypto'
import type { EnvelopeId } from '../protocol/identifiers.ts'
import { decodeBase64url, encodeBase64url } from './base64url.ts'

/** An uncompressed point of P-256 (SEC 1 section 2.3.3) that is known to lie on the curve: 65 octets. */
export type PagePoint = { readonly point: Uint8Array }

/** The point of a page's ephemeral key, or null if the coordinates are not canonical or the point is not on the curve. */
export function parsePageKey(jwk: { readonly x: string; readonly y: string }): PagePoint | null {
  const x = decodeBase64url(jwk.x)
  const y = decodeBase64url(jwk.y)
  if (x?.length !== 32 || y?.length !== 32) return null
  const point = Buffer.concat([Buffer.of(4), x, y])
  try {
    ECDH.convertKey(point, 'prime256v1', undefined, undefined, 'compressed')
    return { point }
  } catch {
    return null
  }
}

/** The `apv` of a release: SHA-256 over the envelope id, a full stop, and the DPoP proof as sent; 32 octets. */
export function partyOf(envelope: EnvelopeId, proof: string): Uint8Array {
  return createHash('sha256').update(`${envelope}.${proof}`).digest()
}

/**
 * A compact JWE (RFC 7516) of `plaintext` for the page's key: ECDH-ES with a fresh P-256 key in direct agreement, A256GCM, and `apv`
 * in header and key derivation, so that it opens only for this envelope and this proof.
 */
export function encryptFor(page: PagePoint, apv: Uint8Array, plaintext: Uint8Array): string {
  const own = createECDH('prime256v1')
  const epk = own.generateKeys()
  const key = concatKdf(own.computeSecret(page.point), 'A256GCM', new Uint8Array(), apv, 256)
  const header = {
    alg: 'ECDH-ES',
    enc: 'A256GCM',
    epk: {
      kty: 'EC',
      crv: 'P-256',
      x: encodeBase64url(epk.subarray(1, 33)),
      y: encodeBase64url(epk.subarray(33)),
    },
    apv: encodeBase64url(apv),
  }
  const protectedHeader = Buffer.from(JSON.stringify(header)).toString('base64url')
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, iv)
  cipher.setAAD(Buffer.from(protectedHeader, 'ascii'))
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()])
  const tail = [iv, sealed, cipher.getAuthTag()].map((octets) => octets.toString('base64url')).join('.')
  return `${protectedHeader}..${tail}`
}

/**
 * Concat KDF of NIST SP 800-56A as RFC 7518 section 4.6.2 profiles it, with SHA-256, for direct agreement: `algorithm` is the `enc`
 * value, `bits` (at most 256) the length of its key; `apu` and `apv` as octets, empty where absent.
 */
export function concatKdf(
  secret: Uint8Array,
  algorithm: string,
  apu: Uint8Array,
  apv: Uint8Array,
  bits: 128 | 256,
): Buffer {
  const hash = createHash('sha256').update(uint32(1)).update(secret)
  for (const part of [Buffer.from(algorithm, 'ascii'), apu, apv]) hash.update(uint32(part.length)).update(part)
  return hash
    .update(uint32(bits))
    .digest()
    .subarray(0, bits / 8)
}

function uint32(value: number): Uint8Array {
  const octets = Buffer.alloc(4)
  octets.writeUInt32BE(value)
  return octets
}
