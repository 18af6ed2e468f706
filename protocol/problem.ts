import { type Static, Type } from '@sinclair/typebox'

/** Every code that a problem of the key server's API can bear, with its HTTP status. The codes are stable; the words are not. */
export const problems = {
  'bad-request': 400,
  'use-dpop-nonce': 401,
  'bad-proof': 401,
  'replayed-proof': 401,
  'no-session': 401,
  'not-authorised': 403,
  'wrong-code': 403,
  'not-for-you': 403,
  'denied-by-rule': 403,
  'stronger-proof-needed': 403,
  'not-found': 404,
  'policy-not-active': 409,
  conflict: 409,
  'already-sent': 409,
  held: 409,
  'code-expired': 410,
  'never-confirmed': 410,
  expired: 410,
  revoked: 410,
  'too-large': 413,
  'too-many': 429,
  internal: 500,
  unavailable: 503,
} as const

export type ProblemCode = keyof typeof problems

const codes = Object.keys(problems) as ProblemCode[]

/** RFC 9457 problem details. `title` and `detail` are for people; programs go by `code`. */
export const Problem = Type.Object({
  type: Type.String({ description: 'urn:sealpost:problem:<code>' }),
  title: Type.String(),
  status: Type.Integer(),
  code: Type.Unsafe<ProblemCode>({ type: 'string', enum: codes }),
  detail: Type.Optional(Type.String()),
  /** Faults of a request that does not fit its schema: where, and what was expected; never the value that was sent. */
  faults: Type.Optional(Type.Array(Type.Object({ at: Type.String(), expected: Type.String() }))),
  triesLeft: Type.Optional(Type.Integer()),
  /** When the envelope expired or was revoked, or since when it is held, RFC 3339. */
  at: Type.Optional(Type.String()),
  rule: Type.Optional(Type.String()),
  incident: Type.Optional(Type.String({ description: 'names the log entry that holds the cause' })),
})
export type Problem = Static<typeof Problem>
