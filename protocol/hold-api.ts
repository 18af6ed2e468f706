import { type Static, Type } from '@sinclair/typebox'
import { Id, Mailbox, Org, Refused, Sha256, Size } from './gateway-api.ts'
import { patterns } from './identifiers.ts'

/**
 * What gateways and officers say of mail that is held: sealed, kept by the gateway that took it, and opened by nobody until an officer lets it go.
 */

const closed = { additionalProperties: false } as const
const Reason = Type.String({ minLength: 1, maxLength: 512 })

/**
 * POST /v1/hold, by the gateway that has the sealed copy on its disk: it is held from now on. Said twice for the same copy, it is once; refused
 * with `conflict` where another copy is held already.
 */
export const HoldRequest = Type.Object(
  {
    org: Org,
    id: Id,
    instance: Type.String({ pattern: patterns.envelopeId }),
    sealed: Type.Object({ digest: Sha256, sealedSize: Size, plainSize: Size }, closed),
    /** Those for whom it is kept: of them only it is said later that their copy is held. */
    recipients: Type.Array(Mailbox, { minItems: 1, maxItems: 1000 }),
  },
  closed,
)
export type HoldRequest = Static<typeof HoldRequest>
export const HoldResult = Type.Union([Type.Object({ kind: Type.Literal('held'), until: Type.String() }), Refused])
export type HoldResult = Static<typeof HoldResult>

/** POST /v1/hold/fate: what is to become of a copy that this gateway keeps. */
export const HoldFateRequest = Type.Object({ org: Org, id: Id, digest: Sha256 }, closed)
export type HoldFateRequest = Static<typeof HoldFateRequest>

/**
 * `waiting`: not confirmed as held, and may still be; `held`: nobody has decided; `let-go`: deliver it, with this notice; `returned`: tell the
 * sender; `expired`: it can be opened no more, so tell the sender; `gone`: revoked, never confirmed, or kept elsewhere: tell nobody.
 */
export const HoldFate = Type.Union([
  Type.Object({ kind: Type.Literal('waiting') }),
  Type.Object({ kind: Type.Literal('held') }),
  Type.Object({ kind: Type.Literal('expired') }),
  Type.Object({ kind: Type.Literal('gone') }),
  Type.Object({ kind: Type.Literal('let-go'), link: Type.String(), expiresAt: Type.String() }),
  /** The officer's own words for the sender; null where the time to decide ran out. */
  Type.Object({ kind: Type.Literal('returned'), reason: Type.Union([Type.String(), Type.Null()]) }),
])
export type HoldFate = Static<typeof HoldFate>

/** A mail that waits for an officer: what the key server knows of it, which is neither its content nor its subject. */
export const HeldMail = Type.Object({
  id: Id,
  org: Org,
  rule: Type.String(),
  sender: Type.Union([Mailbox, Type.Null()]),
  /** In a list at most ten of them. */
  recipients: Type.Array(Mailbox),
  recipientCount: Type.Integer(),
  /** Octets of the message. */
  size: Size,
  gateway: Type.String(),
  heldAt: Type.String(),
  /** When it goes back to its sender, if nobody has decided. */
  until: Type.String(),
  /** Seconds that it can be opened once it is let go. */
  ttlSeconds: Type.Integer(),
  state: Type.Union([Type.Literal('held'), Type.Literal('let-go'), Type.Literal('returned'), Type.Literal('revoked')]),
  decided: Type.Union([
    Type.Object({ at: Type.String(), officer: Type.Union([Type.String(), Type.Null()]), reason: Type.String() }),
    Type.Null(),
  ]),
})
export type HeldMail = Static<typeof HeldMail>

/** POST /v1/held/list, by an officer's certificate: those that nobody has decided on, oldest first, a hundred at a time. */
export const HeldListRequest = Type.Object(
  {
    org: Org,
    /** So many of the oldest are left out: those that were listed before. */
    skip: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
  },
  closed,
)
export type HeldListRequest = Static<typeof HeldListRequest>
export const HeldList = Type.Object({
  held: Type.Array(HeldMail),
  /** There are more than were listed. */
  more: Type.Boolean(),
})
export type HeldList = Static<typeof HeldList>

/** POST /v1/held/show, by an officer's certificate. Answers {@link HeldMail}. */
export const HeldShowRequest = Type.Object({ org: Org, id: Id }, closed)
export type HeldShowRequest = Static<typeof HeldShowRequest>

/** POST /v1/held/release and /v1/held/return, by an officer's certificate. With `return` the sender reads the reason. */
export const HeldDecisionRequest = Type.Object({ org: Org, id: Id, reason: Reason }, closed)
export type HeldDecisionRequest = Static<typeof HeldDecisionRequest>
export const LetGo = Type.Object({ id: Id, expiresAt: Type.String() })
export type LetGo = Static<typeof LetGo>
export const Returned = Type.Object({ id: Id, returnedAt: Type.String() })
export type Returned = Static<typeof Returned>
