import { fromBase64url, sha256, utf8 } from './dpop.ts'

/** The page's ephemeral key, as a release request carries it. */
export type PublicKey = { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string }

export type Agreement = {
  readonly publicKey: PublicKey
  /**
   * The plaintext of a compact JWE (RFC 7516) made for this key: ECDH-ES, P-256, A256GCM, and exactly the expected `apv` (base64url).
   * Throws on anything else.
   */
  decrypt(jwe: string, apv: string): Promise<Uint8Array<ArrayBuffer>>
}

/** A new, non-extractable key for one release. WebCrypto alone: the page and Node run the same code. */
export async function createAgreement(): Promise<Agreement> {
  const pair = await crypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, false, ['deriveBits'])
  const { x = '', y = '' } = await crypto.subtle.exportKey('jwk', pair.publicKey)

  return {
    publicKey: { kty: 'EC', crv: 'P-256', x, y },
    async decrypt(jwe, apv) {
      const [header, encryptedKey, iv, ciphertext, tag, ...rest] = jwe.split('.')
      if (!header || encryptedKey !== '' || !iv || !ciphertext || !tag || rest.length > 0)
        throw new Error('not a compact JWE')
      const epk = partnerKey(header, apv)
      const partner = await crypto.subtle.importKey('jwk', epk, { name: 'ECDH', namedCurve: 'P-256' }, false, [])
      const secret = await crypto.subtle.deriveBits({ name: 'ECDH', public: partner }, pair.privateKey, 256)
      const octets = await deriveKey(new Uint8Array(secret), fromBase64url(apv))
      const key = await crypto.subtle.importKey('raw', octets, 'AES-GCM', false, ['decrypt'])
      const sealed = join([fromBase64url(ciphertext), fromBase64url(tag)])
      const algorithm = { name: 'AES-GCM', iv: fromBase64url(iv), additionalData: utf8(header), tagLength: 128 }
      return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, sealed))
    },
  }
}

/** The `apv` of a release: base64url of SHA-256 over the envelope id, a full stop, and the DPoP proof as sent. */
export function partyOf(envelope: string, proof: string): Promise<string> {
  return sha256(utf8(`${envelope}.${proof}`))
}

function partnerKey(header: string, apv: string): JsonWebKey {
  const { alg, enc, epk, apv: given, ...rest } = JSON.parse(new TextDecoder().decode(fromBase64url(header)))
  if (alg !== 'ECDH-ES' || enc !== 'A256GCM' || given !== apv || Object.keys(rest).length > 0) {
    throw new Error('the JWE is not made for this release')
  }
  return { kty: 'EC', crv: 'P-256', x: String(epk?.x), y: String(epk?.y) }
}

/** Concat KDF (RFC 7518 section 4.6.2) for A256GCM in direct agreement: one round of SHA-256. */
async function deriveKey(
  secret: Uint8Array<ArrayBuffer>,
  apv: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const algorithm = utf8('A256GCM')
  const info = [uint32(algorithm.length), algorithm, uint32(0), uint32(apv.length), apv, uint32(256)]
  return new Uint8Array(await crypto.subtle.digest('SHA-256', join([uint32(1), secret, ...info])))
}

function uint32(value: number): Uint8Array<ArrayBuffer> {
  const octets = new Uint8Array(4)
  new DataView(octets.buffer).setUint32(0, value)
  return octets
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
