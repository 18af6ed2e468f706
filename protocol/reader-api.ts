import { type Static, Type } from '@sinclair/typebox'
import { type EnvelopeId, patterns } from './identifiers.ts'

/**
 * What the reader page says to the key server's public listener. Every POST carries a DPoP proof (RFC 9449) of the page's ES256 key with
 * `nonce` (from the DPoP-Nonce header of the last answer; 401 `use-dpop-nonce` gives the first) and the claim `bsh`: base64url
 * SHA-256 of the body's octets. With a session, `Authorization: DPoP <token>` and the claim `ath`. `iat` is not judged.
 */

const closed = { additionalProperties: false } as const
const Id = Type.Unsafe<EnvelopeId>({ type: 'string', pattern: patterns.envelopeId })
const Token = Type.String({ pattern: patterns.base64url, minLength: 22, maxLength: 128 })

/** POST /v1/code: send a one-time code. The answer is the same, in words and time, whether or not the address is a recipient. */
export const CodeRequest = Type.Object({ envelope: Id, address: Type.String({ minLength: 3, maxLength: 320 }) }, closed)
export type CodeRequest = Static<typeof CodeRequest>
/** 202 */
export const CodeAnswer = Type.Object({ challenge: Token, expiresAt: Type.String(), tries: Type.Integer() })
export type CodeAnswer = Static<typeof CodeAnswer>

/** POST /v1/session: answer the code. Refusals: `wrong-code` with `triesLeft`, `code-expired`, `too-many`. */
export const SessionRequest = Type.Object({ challenge: Token, code: Type.String({ pattern: '^[0-9]{8}$' }) }, closed)
export type SessionRequest = Static<typeof SessionRequest>
export const SessionAnswer = Type.Object({
  token: Token,
  address: Type.String(),
  org: Type.String(),
  expiresAt: Type.String(),
})
export type SessionAnswer = Static<typeof SessionAnswer>

/** POST /v1/ticket: where the sealed copy lies, and a bearer ticket for `GET <url>`, good for 60 s. */
export const TicketRequest = Type.Object({ envelope: Id }, closed)
export type TicketRequest = Static<typeof TicketRequest>
export const TicketAnswer = Type.Object({
  ticket: Type.String(),
  /** Newest first; try one after the other. */
  urls: Type.Array(Type.String()),
})
export type TicketAnswer = Static<typeof TicketAnswer>

/** POST /v1/release */
export const ReleaseRequest = Type.Object(
  {
    envelope: Id,
    /** The ciphertext of the encrypted data key in the envelope's header: 60 octets. */
    wrappedKey: Type.String({ pattern: patterns.base64url, minLength: 80, maxLength: 80 }),
    /** The page's ephemeral key. */
    key: Type.Object(
      {
        kty: Type.Literal('EC'),
        crv: Type.Literal('P-256'),
        x: Type.String({ pattern: patterns.sha256 }),
        y: Type.String({ pattern: patterns.sha256 }),
      },
      closed,
    ),
  },
  closed,
)
export type ReleaseRequest = Static<typeof ReleaseRequest>
/**
 * A compact JWE: `{"alg":"ECDH-ES","enc":"A256GCM","epk":…,"apv":…}`, where apv is base64url of SHA-256 over envelope id, a full
 * stop, and the DPoP proof as sent. Its plaintext is JSON, {@link Release}.
 */
export const ReleaseAnswer = Type.Object({ jwe: Type.String() })
export type ReleaseAnswer = Static<typeof ReleaseAnswer>

/** What the JWE of a release holds. */
export type Release = {
  /** 32 octets, base64url. */
  readonly dataKey: string
  readonly org: string
  readonly termsHash: string
  /** The proven sender, or null where it was `<>`. */
  readonly sender: string | null
  readonly issuedAt: string
  readonly expiresAt: string
  readonly role: 'recipient' | 'sender'
  /** Every confirmed sealing; the one that was opened must be among them. */
  readonly copies: readonly { readonly digest: string; readonly sealedSize: number; readonly plainSize: number }[]
}

/** POST /v1/revoke, by the sender's session. Answers `Revoked`. */
export const RevokeRequest = Type.Object({ envelope: Id }, closed)
export type RevokeRequest = Static<typeof RevokeRequest>
