import { type KeyObject, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type EnvelopeId, parseEnvelopeId } from '../protocol/identifiers.ts'
import type { Problem, ProblemCode } from '../protocol/problem.ts'
import { problems } from '../protocol/problem.ts'
import type { Copies } from './copies.ts'
import { isTicketFor } from './ticket.ts'

export type CopiesHttpParts = {
  readonly copies: Copies
  /** Rejects when the key server cannot be asked: 503. */
  readonly findKey: (kid: string) => Promise<KeyObject | null>
  /** The reader's origins, such as `https://mail.acme.example`; no other page may read an answer. */
  readonly origins: readonly string[]
  /** Copies that are served at the same time; more are told 503. */
  readonly limit: number
  readonly now: () => Date
  /** Told of what went wrong within, by incident. */
  readonly onFailure: (incident: string, error: unknown) => void
}

const PATH = /^\/e\/([\w-]{22})$/

/**
 * `GET` and `HEAD /e/<id>` with `Authorization: Bearer <ticket>`. Without a good ticket for that envelope everything is 401, there or not; with
 * one, what is not there is 404. Not yet listening.
 */
export function createCopiesServer(parts: CopiesHttpParts): Server {
  let serving = 0
  const server = createServer((request, response) => {
    allow(request, response, parts.origins)
    if (request.method === 'OPTIONS') return void preflight(request, response)
    if (serving >= parts.limit)
      return void refuse(response, 'unavailable', 'Too many copies are being fetched. Try again.')
    serving++
    serve(parts, request, response)
      .catch((error: unknown) => {
        const incident = randomBytes(12).toString('base64url')
        parts.onFailure(incident, error)
        if (response.headersSent) response.destroy()
        else refuse(response, 'unavailable', 'The copy cannot be given now. Try again.', incident)
      })
      .finally(() => {
        serving--
      })
  })
  server.headersTimeout = 10_000
  server.requestTimeout = 15_000
  server.maxHeadersCount = 100
  server.on('clientError', (_, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    else socket.destroy()
  })
  return server
}

async function serve(parts: CopiesHttpParts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const id = envelopeOf(request.url ?? '')
  if (id === null) return refuse(response, 'not-found', 'There is nothing here.')
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD, OPTIONS')
    return refuse(response, 'bad-request', 'Only GET and HEAD are answered.', undefined, 405)
  }
  const ticket = /^Bearer ([\w.-]+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? ''
  if (!(await isTicketFor(ticket, id, parts.findKey, parts.now().getTime() / 1000))) {
    response.setHeader('WWW-Authenticate', 'Bearer realm="sealed copies"')
    return refuse(response, 'no-session', 'A fresh ticket of the key server is needed.')
  }
  const copy = await parts.copies.get(id)
  if (copy === null) return refuse(response, 'not-found', 'The copy is not here. Use the attachment of the mail.')
  response.writeHead(200, { 'Content-Type': 'application/vnd.sealpost', 'Content-Length': copy.size })
  if (request.method === 'HEAD') {
    response.end()
    await copy.close()
    return
  }
  // A reader that has gone away is no failure of ours.
  response.setTimeout(60_000, () => response.destroy())
  try {
    await pipeline(Readable.from(copy.chunks(), { objectMode: false }), response)
  } catch (error) {
    if (!hasGone(error)) throw error
  } finally {
    // A copy of which nothing was read does not close itself.
    await copy.close()
  }
}

function hasGone(error: unknown): boolean {
  const codes: unknown[] = ['ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_UNABLE_TO_PIPE', 'ECONNRESET', 'EPIPE']
  return error instanceof Error && 'code' in error && codes.includes(error.code)
}

function envelopeOf(url: string): EnvelopeId | null {
  return parseEnvelopeId(PATH.exec(url)?.[1] ?? '')
}

/** What every answer bears, refusals included: the page must be able to read why. */
function allow(request: IncomingMessage, response: ServerResponse, origins: readonly string[]): void {
  response.setHeader('Cache-Control', 'no-store')
  response.setHeader('X-Content-Type-Options', 'nosniff')
  response.setHeader('Content-Security-Policy', "default-src 'none'; frame-ancestors 'none'")
  response.setHeader('Referrer-Policy', 'no-referrer')
  response.setHeader('Vary', 'Origin')
  const { origin } = request.headers
  if (origin === undefined || !origins.includes(origin)) return
  response.setHeader('Access-Control-Allow-Origin', origin)
  response.setHeader('Access-Control-Expose-Headers', 'Content-Length, Retry-After')
  response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin')
}

function preflight(_: IncomingMessage, response: ServerResponse): void {
  if (response.hasHeader('Access-Control-Allow-Origin')) {
    response.setHeader('Access-Control-Allow-Methods', 'GET, HEAD')
    response.setHeader('Access-Control-Allow-Headers', 'Authorization')
    response.setHeader('Access-Control-Max-Age', '600')
  }
  response.writeHead(204).end()
}

const titles: Partial<Record<ProblemCode, string>> = {
  'no-session': 'Not authorised',
  'not-found': 'Not found',
  'bad-request': 'Bad request',
  unavailable: 'Not available now',
}

/** RFC 9457. */
function refuse(
  response: ServerResponse,
  code: ProblemCode,
  detail: string,
  incident?: string,
  status: number = problems[code],
): void {
  const problem: Problem = {
    type: `urn:sealpost:problem:${code}`,
    title: titles[code] ?? 'Refused',
    status,
    code,
    detail,
    ...(incident === undefined ? {} : { incident }),
  }
  if (status === 503) response.setHeader('Retry-After', '2')
  response.writeHead(status, { 'Content-Type': 'application/problem+json' })
  response.end(response.req.method === 'HEAD' ? undefined : JSON.stringify(problem))
}
