import { sha256, toBase64url } from './base64url.ts'

/** The key whose possession every request proves (RFC 9449): ES256, non-extractable. */
export type ProofKey = CryptoKeyPair

export type ProofOptions = {
  /** Without query and fragment. */
  readonly url: string
  readonly body: Uint8Array<ArrayBuffer>
  /** From the `DPoP-Nonce` header of the last answer. */
  readonly nonce: string | null
  readonly token: string | null
}

const text = new TextEncoder()

/** A fresh key. It can sign in this browser, and can be kept in IndexedDB, but its octets cannot be had. */
export async function createProofKey(): Promise<ProofKey> {
  return crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
}

/** A DPoP proof for one POST: RFC 9449 section 4.2, with `bsh` for the body and, with a token, `ath`. */
export async function createProof(key: ProofKey, { url, body, nonce, token }: ProofOptions): Promise<string> {
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', key.publicKey)
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } }
  const claims = {
    jti: toBase64url(crypto.getRandomValues(new Uint8Array(16))),
    htm: 'POST',
    htu: url,
    iat: Math.floor(Date.now() / 1000),
    bsh: await sha256(body),
    ...(nonce === null ? {} : { nonce }),
    ...(token === null ? {} : { ath: await sha256(text.encode(token)) }),
  }
  const signed = [header, claims].map((part) => toBase64url(text.encode(JSON.stringify(part)))).join('.')
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key.privateKey, text.encode(signed))
  return `${signed}.${toBase64url(new Uint8Array(signature))}`
}
