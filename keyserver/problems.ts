import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifySchemaValidationError } from 'fastify'
import { type ProblemCode, problems } from '../protocol/problem.ts'
import { KeyServerError, toProblem } from './error.ts'

/** A request id, which is also its incident id: 16 random octets, base64url. For Fastify's `genReqId`. */
export function newRequestId(): string {
  return randomBytes(16).toString('base64url')
}

/** Sends `error` as problem+json (RFC 9457): never a cause, a stack or a value that was sent. */
export function sendProblem(reply: FastifyReply, error: KeyServerError, incident?: string): FastifyReply {
  if (error.retryAfter !== null) reply.header('retry-after', String(error.retryAfter))
  return reply
    .code(problems[error.code])
    .header('content-type', 'application/problem+json')
    .header('cache-control', 'no-store')
    .serializer(JSON.stringify)
    .send(toProblem(error.code, { detail: error.message, ...error.details }, incident))
}

/**
 * Makes every failure of `app` a problem+json. What is neither ours nor the framework's own refusal of a request becomes `internal`, named by
 * the request's id; its cause is logged under that id and nowhere shown. `onRefused` is told each code.
 */
export function answerProblems(app: FastifyInstance, onRefused: (code: ProblemCode) => void = () => {}): void {
  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    onRefused(known?.code ?? 'internal')
    if (known !== null) {
      if (known.cause !== undefined) request.log.warn({ err: known.cause, incident: request.id }, known.code)
      return sendProblem(reply, known, problems[known.code] >= 500 ? request.id : undefined)
    }
    request.log.error({ err: error, incident: request.id }, 'request failed')
    return sendProblem(reply, new KeyServerError('internal'), request.id)
  })
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, new KeyServerError('not-found')))
}

/** For Fastify's `frameworkErrors`: an address that the router cannot read is one where nothing is, and is not repeated. */
export function refuseUnreadable(_error: unknown, _request: unknown, reply: FastifyReply): void {
  sendProblem(reply, new KeyServerError('not-found'))
}

function knownError(error: unknown): KeyServerError | null {
  if (error instanceof KeyServerError) return error
  if (!(error instanceof Error)) return null
  // Fastify's own errors bear these; nothing else that is thrown here does.
  const { statusCode, validation } = error as {
    readonly statusCode?: number
    readonly validation?: readonly FastifySchemaValidationError[]
  }
  if (validation !== undefined) return new KeyServerError('bad-request', { faults: validation.slice(0, 16).map(fault) })
  if (statusCode === 413) return new KeyServerError('too-large')
  if (statusCode === 429) return new KeyServerError('too-many', { retryAfter: 60 })
  if (statusCode === 404) return new KeyServerError('not-found')
  if (statusCode === 503) return new KeyServerError('unavailable')
  return statusCode !== undefined && statusCode >= 400 && statusCode < 500 ? new KeyServerError('bad-request') : null
}

function fault(found: FastifySchemaValidationError): { at: string; expected: string } {
  const unknown = typeof found.params.additionalProperty === 'string'
  return { at: found.instancePath, expected: unknown ? 'no unknown fields' : (found.message ?? found.keyword) }
}
