import { type Problem, type ProblemCode, problems } from '../protocol/problem.ts'

/** What a problem may tell besides its code; all of it is public. */
export type ProblemDetails = Pick<Problem, 'detail' | 'faults' | 'triesLeft' | 'at' | 'rule'>

type Options = ProblemDetails & {
  /** Goes to the log, never to the client. */
  readonly cause?: unknown
  /** Seconds, for the Retry-After header. */
  readonly retryAfter?: number
}

/** The one error of this process: a code of the closed set, words for the public, a cause for the log. */
export class KeyServerError extends Error {
  readonly code: ProblemCode
  readonly details: ProblemDetails
  readonly retryAfter: number | null

  constructor(code: ProblemCode, options: Options = {}) {
    super(options.detail ?? titles[code], { cause: options.cause })
    this.name = 'KeyServerError'
    this.code = code
    this.retryAfter = options.retryAfter ?? (code === 'unavailable' ? 5 : null)
    const { cause: _, retryAfter: __, ...details } = options
    this.details = details
  }
}

/** RFC 9457 body of an error. */
export function toProblem(code: ProblemCode, details: ProblemDetails = {}, incident?: string): Problem {
  return {
    type: `urn:sealpost:problem:${code}`,
    title: titles[code],
    status: problems[code],
    code,
    ...details,
    ...(incident === undefined ? {} : { incident }),
  }
}

const titles: Readonly<Record<ProblemCode, string>> = {
  'bad-request': 'The request does not have the form that this route expects.',
  'use-dpop-nonce': 'Repeat the request with the nonce of this answer.',
  'bad-proof': 'The proof of possession is not valid.',
  'replayed-proof': 'The proof of possession was used before.',
  'no-session': 'Prove your address first.',
  'not-authorised': 'This certificate may not do that.',
  'wrong-code': 'The code is not right.',
  'not-for-you': 'There is no message here for you.',
  'denied-by-rule': 'A rule of the organization does not allow this.',
  'stronger-proof-needed': 'This message needs a stronger proof of your address.',
  'not-found': 'There is nothing here.',
  'policy-not-active': 'The decision was taken under a policy that is not in force.',
  conflict: 'This cannot be done in the present state.',
  'already-sent': 'The recipient has had this message.',
  held: 'The message has not been sent yet.',
  'code-expired': 'The code can no longer be used. Ask for a new one.',
  'never-confirmed': 'The message was not confirmed in time.',
  expired: 'The message has expired.',
  revoked: 'The message was revoked.',
  'too-large': 'The request is too large.',
  'too-many': 'Too many requests. Wait a little and try again.',
  internal: 'Something went wrong here. Nothing was used up.',
  unavailable: 'The key server cannot answer just now. Nothing was used up; try again.',
}
