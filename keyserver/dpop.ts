import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { decodeBase64url } from './base64url.ts'
import type { Nonces } from './nonce.ts'

/** What a proof must fit. `htu` is the configured public origin and the route's path: never what the Host header says. */
export type ProofExpectation = {
  readonly htm: string
  readonly htu: string
  /** The octets of the body as received; the claim `bsh` is their SHA-256. */
  readonly body: Uint8Array
  /** The access token of the Authorization header, or null; the claim `ath` is its SHA-256. */
  readonly token: string | null
}

export type ProofVerdict =
  | {
      readonly kind: 'proven'
      /** RFC 7638 thumbprint of the browser's key, base64url. */
      readonly thumbprint: string
    }
  | {
      readonly kind: 'refused'
      readonly code: 'use-dpop-nonce' | 'bad-proof' | 'replayed-proof'
      readonly because: string
    }

type Parsed = {
  readonly jwk: { readonly x: string; readonly y: string }
  readonly claims: Readonly<Record<string, unknown>>
  readonly signed: string
  readonly signature: Uint8Array
}

const MAX_PROOF = 4096
const MAX_JTI = 128

/**
 * Verifies a DPoP proof (RFC 9449 section 4.3): ES256 only, the key a point of P-256, method, address, body, nonce and token as expected,
 * never seen before. `iat` is not judged: the nonce says how old the proof can be. A proof is remembered only once it is found good,
 * so nobody fills the memory with what they did not sign.
 */
export function verifyProof(
  proof: string | readonly string[] | undefined,
  expected: ProofExpectation,
  nonces: Nonces,
): ProofVerdict {
  if (typeof proof !== 'string') return bad('one DPoP header is needed')
  if (proof.length > MAX_PROOF) return bad('the proof is too long')
  const parsed = parseProof(proof)
  if (typeof parsed === 'string') return bad(parsed)
  const { claims, jwk } = parsed
  // Before the signature: a caller without a nonce costs no curve arithmetic.
  if (typeof claims.nonce !== 'string' || !nonces.accepts(claims.nonce)) {
    return { kind: 'refused', code: 'use-dpop-nonce', because: 'make the proof again with the nonce of this answer' }
  }
  const fault = claimFault(claims, expected)
  if (fault !== null) return bad(fault)
  const key = publicKeyOf(jwk)
  if (key === null) return bad('the key is not a point of P-256')
  if (!verify('sha256', Buffer.from(parsed.signed), { key, dsaEncoding: 'ieee-p1363' }, parsed.signature)) {
    return bad('the signature does not verify')
  }
  const thumbprint = thumbprintOf(jwk)
  if (!nonces.remember(thumbprint, String(claims.jti))) {
    return { kind: 'refused', code: 'replayed-proof', because: 'each request needs a proof of its own' }
  }
  return { kind: 'proven', thumbprint }
}

/** RFC 7638 section 3: SHA-256 over the key's required members in lexicographic order, base64url. */
export function thumbprintOf(jwk: { readonly x: string; readonly y: string }): string {
  return createHash('sha256').update(`{"crv":"P-256","kty":"EC","x":"${jwk.x}","y":"${jwk.y}"}`).digest('base64url')
}

function bad(because: string): ProofVerdict {
  return { kind: 'refused', code: 'bad-proof', because }
}

function parseProof(proof: string): Parsed | string {
  const parts = proof.split('.')
  const [head, payload, tail] = parts
  if (parts.length !== 3 || head === undefined || payload === undefined || tail === undefined)
    return 'not a compact JWS'
  const header = jsonObject(head)
  const claims = jsonObject(payload)
  const signature = decodeBase64url(tail)
  if (header === null || claims === null || signature?.length !== 64) return 'not an ES256 JWS'
  if (header.typ !== 'dpop+jwt' || header.alg !== 'ES256') return 'typ must be dpop+jwt and alg ES256'
  if ('crit' in header || 'b64' in header) return 'no critical extensions are known'
  const jwk = publicJwk(header.jwk)
  return jwk === null ? 'jwk must be a public P-256 key' : { jwk, claims, signed: `${head}.${payload}`, signature }
}

function jsonObject(part: string): Record<string, unknown> | null {
  const octets = decodeBase64url(part)
  if (octets === null) return null
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null
  } catch {
    return null
  }
}

function publicJwk(value: unknown): { x: string; y: string } | null {
  if (typeof value !== 'object' || value === null) return null
  const { kty, crv, x, y, d } = value as Record<string, unknown>
  if (kty !== 'EC' || crv !== 'P-256' || d !== undefined || typeof x !== 'string' || typeof y !== 'string') return null
  return decodeBase64url(x)?.length === 32 && decodeBase64url(y)?.length === 32 ? { x, y } : null
}

function claimFault(claims: Parsed['claims'], expected: ProofExpectation): string | null {
  const { jti, iat, htm, htu, bsh, ath } = claims
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI) return `jti must have 1 to ${MAX_JTI} characters`
  if (typeof iat !== 'number') return 'iat is missing'
  if (htm !== expected.htm) return 'htm is not the method'
  if (htu !== expected.htu) return 'htu is not the address'
  if (bsh !== sha256(expected.body)) return 'bsh is not the SHA-256 of the body'
  const wanted = expected.token === null ? undefined : sha256(Buffer.from(expected.token))
  return ath === wanted ? null : 'ath is not the SHA-256 of the token'
}

/** Null unless the point is on the curve: OpenSSL checks it on import. */
function publicKeyOf({ x, y }: { readonly x: string; readonly y: string }): KeyObject | null {
  try {
    return createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x, y } })
  } catch {
    return null
  }
}

function sha256(octets: Uint8Array): string {
  return createHash('sha256').update(octets).digest('base64url')
}
