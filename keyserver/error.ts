import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifySchemaValidationError } from 'fastify'
import { type Problem, type ProblemCode, problems } from '../protocol/problem.ts'

type Extra = Pick<Partial<Problem>, 'faults' | 'triesLeft' | 'at' | 'rule'> & { readonly retryAfterSeconds?: number }

/** What a caller is told instead of an answer. `detail` is public: plain words that say what to do. `cause` goes to the log only. */
export class KeyServerError extends Error {
  readonly code: ProblemCode
  readonly extra: Extra

  constructor(code: ProblemCode, detail: string, extra: Extra = {}, options?: ErrorOptions) {
    super(detail, options)
    this.name = 'KeyServerError'
    this.code = code
    this.extra = extra
  }
}

const titles: Record<ProblemCode, string> = {
  'bad-request': 'The request does not fit',
  'use-dpop-nonce': 'Use the nonce of this answer',
  'bad-proof': 'The proof of the key does not hold',
  'replayed-proof': 'The proof was used before',
  'no-session': 'Prove your address first',
  'not-authorised': 'Not allowed',
  'wrong-code': 'Wrong code',
  'not-for-you': 'Not for you',
  'denied-by-rule': 'Refused by a rule',
  'stronger-proof-needed': 'A stronger proof is needed',
  'not-found': 'Not found',
  'policy-not-active': 'That policy is not active',
  conflict: 'Conflict',
  'code-expired': 'The code has expired',
  expired: 'Expired',
  revoked: 'Revoked',
  'too-large': 'Too large',
  'too-many': 'Too many',
  internal: 'Something went wrong',
  unavailable: 'Try again soon',
}

/** The RFC 9457 document of `error`; never a cause, a stack or a value that was sent. */
export function problemOf(error: KeyServerError, incident?: string): Problem {
  const { retryAfterSeconds: _, ...shown } = error.extra
  return {
    type: `urn:sealpost:problem:${error.code}`,
    title: titles[error.code],
    status: problems[error.code],
    code: error.code,
    detail: error.message,
    ...shown,
    ...(incident === undefined ? {} : { incident }),
  }
}

/** Sends `error` as problem+json. */
export function sendProblem(reply: FastifyReply, error: KeyServerError, incident?: string): FastifyReply {
  if (error.extra.retryAfterSeconds !== undefined) reply.header('retry-after', String(error.extra.retryAfterSeconds))
  return reply
    .code(problems[error.code])
    .header('content-type', 'application/problem+json')
    .header('cache-control', 'no-store')
    .serializer(JSON.stringify)
    .send(problemOf(error, incident))
}

/**
 * Makes every failure of `app` a problem+json. What is not ours and not the framework's own 4xx becomes `internal` with an incident id;
 * the cause is logged under that id and nowhere shown.
 */
export function answerProblems(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    if (known !== null) return sendProblem(reply, known)
    const incident = randomBytes(9).toString('base64url')
    request.log.error({ err: error, incident }, 'request failed')
    return sendProblem(reply, new KeyServerError('internal', 'Nothing was used up. Please try again later.'), incident)
  })
  app.setNotFoundHandler((_request, reply) =>
    sendProblem(reply, new KeyServerError('not-found', 'There is nothing at this address.')),
  )
}

type FrameworkError = { readonly statusCode?: number; readonly validation?: FastifySchemaValidationError[] }

function knownError(error: unknown): KeyServerError | null {
  if (error instanceof KeyServerError) return error
  if (!(error instanceof Error)) return null
  const { statusCode, validation } = error as FrameworkError
  if (validation !== undefined) {
    const detail = 'The request does not fit its schema; see faults.'
    return new KeyServerError('bad-request', detail, { faults: validation.slice(0, 16).map(fault) })
  }
  if (statusCode === 413) return new KeyServerError('too-large', 'The request is larger than this route takes.')
  if (statusCode === 429) return new KeyServerError('too-many', 'Too many requests. Please wait a little.')
  if (statusCode === 404) return new KeyServerError('not-found', 'There is nothing at this address.')
  if (statusCode === 503) return new KeyServerError('unavailable', 'Please try again soon.', { retryAfterSeconds: 2 })
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new KeyServerError('bad-request', 'The request could not be read.')
  }
  return null
}

function fault(found: FastifySchemaValidationError): { at: string; expected: string } {
  const unknown = found.params['additionalProperty']
  if (typeof unknown === 'string') return { at: found.instancePath, expected: 'no unknown fields' }
  return { at: found.instancePath, expected: found.message ?? found.keyword }
}
