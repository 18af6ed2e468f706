/** Makes DPoP proofs (RFC 9449) with a key that never leaves the browser. WebCrypto alone: the page and Node run the same code. */
export type Prover = {
  /** A fresh proof for one request. `body` is the octets that are sent; `token` the session's, or null without one. */
  prove(request: ProofRequest): Promise<string>
}

export type ProofRequest = {
  readonly method: string
  /** Origin and path, without query and fragment. */
  readonly url: string
  readonly nonce: string
  readonly body: Uint8Array<ArrayBuffer>
  readonly token: string | null
}

/** A prover with a new, non-extractable ES256 key. */
export async function createProver(): Promise<Prover> {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
  const { x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey)
  const header = toBase64url(
    utf8(JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: { kty: 'EC', crv: 'P-256', x, y } })),
  )

  return {
    async prove({ method, url, nonce, body, token }) {
      const claims = {
        jti: toBase64url(crypto.getRandomValues(new Uint8Array(16))),
        iat: Math.floor(Date.now() / 1000),
        htm: method,
        htu: url,
        nonce,
        bsh: await sha256(body),
        ...(token === null ? {} : { ath: await sha256(utf8(token)) }),
      }
      const signed = `${header}.${toBase64url(utf8(JSON.stringify(claims)))}`
      const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, pair.privateKey, utf8(signed))
      return `${signed}.${toBase64url(new Uint8Array(signature))}`
    },
  }
}

/** base64url of the SHA-256 of `octets`. */
export async function sha256(octets: Uint8Array<ArrayBuffer>): Promise<string> {
  return toBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', octets)))
}

export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text)
}

/** base64url without padding (RFC 4648 section 5) of a few hundred octets. */
export function toBase64url(octets: Uint8Array): string {
  return btoa(String.fromCharCode(...octets))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}

/** The octets of base64url without padding. Throws if `text` is not that. */
export function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0))
}
