import { type Static, Type } from '@sinclair/typebox'
import { type Address, type EnvelopeId, type OrgId, patterns } from './identifiers.ts'

/**
 * What gateways and officers say to the key server's mTLS listener. All routes take and give JSON; binary values are base64url
 * without padding, times RFC 3339 in UTC, sizes octets. Bulk calls answer item by item, in the order of the request.
 */

const closed = { additionalProperties: false } as const
export const Org = Type.Unsafe<OrgId>({ type: 'string', pattern: patterns.orgId, maxLength: 253 })
export const Id = Type.Unsafe<EnvelopeId>({ type: 'string', pattern: patterns.envelopeId })
export const Mailbox = Type.Unsafe<Address>({ type: 'string', minLength: 3, maxLength: 320 })
export const Sha256 = Type.String({ pattern: patterns.sha256, description: 'SHA-256, base64url' })
const RuleName = Type.String({ minLength: 1, maxLength: 128 })
export const Size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/** What was promised at issue and what no later rule can loosen. */
export const Terms = Type.Object(
  {
    /** Time to live from issue, or of what was held from when it was let go; seconds. */
    ttlSeconds: Type.Integer({ minimum: 60, maximum: 10 * 366 * 86_400 }),
    /** The weakest proof of the address that opens it. */
    proof: Type.Literal('code'),
  },
  closed,
)
export type Terms = Static<typeof Terms>

/**
 * POST /v1/issue, one item: one message, one verdict, the recipients that share it.
 * `seal` asks for an envelope; `pass` and `refuse` are recorded, and `pass` gets an id under which its outcomes are kept. `hold` asks for an
 * envelope that nobody can open until an officer lets it go; it is confirmed as held (hold-api.ts).
 */
export const IssueRequest = Type.Object(
  {
    org: Org,
    /** Hex SHA-256 of the policy text that the verdict was taken under; one that is not active answers `policy-not-active`. */
    policyHash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    verdict: Type.Union([Type.Literal('seal'), Type.Literal('pass'), Type.Literal('refuse'), Type.Literal('hold')]),
    rule: RuleName,
    /** The proven sender: MAIL FROM, or null for `<>`. */
    sender: Type.Union([Mailbox, Type.Null()]),
    /** Required with `seal` and `hold`, absent otherwise. */
    terms: Type.Optional(Terms),
    /** How long an officer has to decide, seconds. Required with `hold`, absent otherwise. */
    holdSeconds: Type.Optional(Type.Integer({ minimum: 60, maximum: 31 * 86_400 })),
    /** HMAC-SHA-256 of the Message-ID under the organization's trace key; null without a Message-ID. */
    messageDigest: Type.Union([Sha256, Type.Null()]),
    recipients: Type.Array(
      Type.Object(
        {
          address: Mailbox,
          /** HMAC of MAIL FROM, Message-ID, digest without trace fields, recipient; null without a Message-ID. */
          retryKey: Type.Union([Sha256, Type.Null()]),
        },
        closed,
      ),
      { minItems: 1, maxItems: 1000 },
    ),
  },
  closed,
)
export type IssueRequest = Static<typeof IssueRequest>

/**
 * What is known of a recipient's copy. `open`: not sent; `unknown`: an earlier attempt ended without an answer, deliver again;
 * `busy`: another attempt is under way, answer 451; `sent`: done; `failed`: refused for good and bounced, done; `held`: a gateway keeps it, for an
 * officer to decide or because one has let it go: accepted, nothing to do.
 */
export const CopyState = Type.Union([
  Type.Literal('open'),
  Type.Literal('unknown'),
  Type.Literal('busy'),
  Type.Literal('sent'),
  Type.Literal('failed'),
  Type.Literal('held'),
])
export type CopyState = Static<typeof CopyState>

export const IssuedEnvelope = Type.Object({
  id: Id,
  issuedAt: Type.String(),
  /** Null with `pass` and `refuse`, and where nothing is left to send. */
  key: Type.Union([
    Type.Object({
      /** 32 octets. */
      dataKey: Type.String(),
      /** The data key under the envelope's secret: the ciphertext of the one encrypted data key. See docs/format.md. */
      wrappedKey: Type.String(),
      termsHash: Sha256,
      link: Type.String({ description: 'https://<host>/m/<id>' }),
      /** With `hold`: when an officer must have decided. */
      expiresAt: Type.String(),
    }),
    Type.Null(),
  ]),
  recipients: Type.Array(Type.Object({ address: Mailbox, state: CopyState })),
})
export type IssuedEnvelope = Static<typeof IssuedEnvelope>

/** One item of a bulk answer that was refused: `code` as in {@link problems}. */
export const Refused = Type.Object({ kind: Type.Literal('refused'), code: Type.String(), detail: Type.String() })

/** A retry may find its recipients spread over several envelopes: each is delivered on its own. */
export const IssueResult = Type.Union([
  Type.Object({ kind: Type.Literal('issued'), envelopes: Type.Array(IssuedEnvelope) }),
  Refused,
])
export type IssueResult = Static<typeof IssueResult>

/**
 * POST /v1/confirm, one item: the next delivery of this envelope, said before its first octet of DATA leaves. The named recipients become
 * `unknown` until an outcome says better. `sealed` is absent for `pass`. A second sealing of one envelope is confirmed beside the first.
 */
export const ConfirmRequest = Type.Object(
  {
    org: Org,
    id: Id,
    sealed: Type.Optional(Type.Object({ digest: Sha256, sealedSize: Size, plainSize: Size }, closed)),
    recipients: Type.Array(Mailbox, { minItems: 1, maxItems: 1000 }),
    /** How long this delivery may take at most, and so keeps other attempts away. 60 if absent. */
    leaseSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 900 })),
  },
  closed,
)
export type ConfirmRequest = Static<typeof ConfirmRequest>

export const ConfirmResult = Type.Union([Type.Object({ kind: Type.Literal('confirmed') }), Refused])
export type ConfirmResult = Static<typeof ConfirmResult>

/** POST /v1/outcome, one item. `deferred` makes the copy open again; `failed` is for good. */
export const OutcomeRequest = Type.Object(
  {
    org: Org,
    id: Id,
    recipient: Mailbox,
    outcome: Type.Union([
      Type.Literal('sent'),
      Type.Literal('deferred'),
      Type.Literal('failed'),
      Type.Literal('unknown'),
    ]),
    /** The provider's reply, at most 512 characters. */
    reply: Type.String({ maxLength: 512 }),
  },
  closed,
)
export type OutcomeRequest = Static<typeof OutcomeRequest>

export const OutcomeResult = Type.Union([Type.Object({ kind: Type.Literal('recorded') }), Refused])
export type OutcomeResult = Static<typeof OutcomeResult>

/**
 * POST /v1/handled, one item, for the loop stamp: is this sealed copy one that was confirmed for this organization? And who of these
 * recipients has this envelope, or may have it?
 */
export const HandledRequest = Type.Object(
  {
    org: Org,
    id: Id,
    /** Absent where the mail carries no sealed copy. */
    digest: Type.Optional(Sha256),
    recipients: Type.Optional(Type.Array(Mailbox, { maxItems: 1000 })),
  },
  closed,
)
export type HandledRequest = Static<typeof HandledRequest>
export const HandledResult = Type.Object({
  handled: Type.Boolean(),
  /** What the notice needs to be built again; null unless handled. */
  notice: Type.Union([Type.Object({ link: Type.String(), expiresAt: Type.String() }), Type.Null()]),
  /** Those of `recipients` whose copy of this envelope is `sent` or `unknown`, as they were written there. */
  reached: Type.Array(Mailbox),
})
export type HandledResult = Static<typeof HandledResult>

/** Random per start of a gateway: it tells a restart from a second attempt. */
const instance = Type.String({ pattern: patterns.envelopeId })

/** The body of a bulk call for one kind of step. */
export function bulk<T extends ReturnType<typeof Type.Object>>(item: T) {
  return Type.Object(
    {
      instance,
      requests: Type.Array(item, { minItems: 1, maxItems: 256 }),
    },
    closed,
  )
}

const several = <T extends ReturnType<typeof Type.Object>>(item: T) =>
  Type.Optional(Type.Array(item, { maxItems: 256 }))

/** POST /v1/steps: what /v1/issue, /v1/confirm and /v1/outcome take, in one call. */
export const StepsRequest = Type.Object(
  { instance, issue: several(IssueRequest), confirm: several(ConfirmRequest), outcome: several(OutcomeRequest) },
  closed,
)
export type StepsRequest = Static<typeof StepsRequest>

/** Each in the order of its requests. An item that the key server cannot answer just now is refused as `unavailable`. */
export const StepsResult = Type.Object({
  issue: Type.Array(IssueResult),
  confirm: Type.Array(ConfirmResult),
  outcome: Type.Array(OutcomeResult),
  /** Whether other gateways called a moment ago as well: then fewer calls with more in each serve all of them better. */
  crowded: Type.Optional(Type.Boolean()),
})
export type StepsResult = Static<typeof StepsResult>

/** GET /v1/policies/:org, the active policy (ETag is the hash); 404 while none is. */
export const ActivePolicy = Type.Object({ org: Org, hash: Type.String(), text: Type.String() })
export type ActivePolicy = Static<typeof ActivePolicy>

/** GET /v1/changes?after=<cursor>: what happened to this gateway's envelopes, oldest first, at most 1,000; a durable cursor from 0. */
export const Changes = Type.Object({
  changes: Type.Array(
    Type.Object({
      cursor: Type.Integer(),
      id: Id,
      /** `let-go` and `returned` are said of what was held. */
      kind: Type.Union([
        Type.Literal('shredded'),
        Type.Literal('revoked'),
        Type.Literal('let-go'),
        Type.Literal('returned'),
      ]),
    }),
  ),
  next: Type.Integer(),
})
export type Changes = Static<typeof Changes>

/** GET /v1/keys: the Ed25519 public keys (RFC 8037 JWKs) that sign tickets and system stamps. */
export const SigningKeys = Type.Object({
  keys: Type.Array(
    Type.Object({
      kty: Type.Literal('OKP'),
      crv: Type.Literal('Ed25519'),
      kid: Type.String(),
      x: Type.String(),
    }),
  ),
})
export type SigningKeys = Static<typeof SigningKeys>

/** POST /v1/revoke, by an officer's certificate. */
export const OfficerRevokeRequest = Type.Object(
  { org: Org, id: Id, reason: Type.String({ minLength: 1, maxLength: 512 }) },
  closed,
)
export type OfficerRevokeRequest = Static<typeof OfficerRevokeRequest>
export const Revoked = Type.Object({ id: Id, revokedAt: Type.String() })
export type Revoked = Static<typeof Revoked>

/** POST /v1/clock, by an officer's certificate: the clock shows the right time, shred again. For all organizations of the server. */
export const ClockAcceptRequest = Type.Object({ reason: Type.String({ minLength: 1, maxLength: 512 }) }, closed)
export type ClockAcceptRequest = Static<typeof ClockAcceptRequest>
export const ClockAccepted = Type.Object({ now: Type.String() })
export type ClockAccepted = Static<typeof ClockAccepted>
