import { createHash } from 'node:crypto'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { verifyProof } from './dpop.ts'
import { KeyServerError } from './error.ts'
import { canonicalIp, networkOf } from './network.ts'
import { createNonces } from './nonce.ts'
import type { Parts } from './parts.ts'
import type { Session } from './store.ts'
import type { Strangers } from './strangers.ts'

/** The calling browser, proven by its key. */
export type Browser = {
  /** RFC 7638 thumbprint of its key. */
  readonly thumbprint: string
  /** The DPoP proof as sent. */
  readonly proof: string
  readonly ip: string
  readonly network: string
  /** The person who proved an address with this key; null on routes that need no session. */
  readonly session: Session | null
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The body's octets as received. */
    octets: Uint8Array
    browser: Browser | null
  }
}

/** Larger bodies are refused before they are read. */
export const BODY_LIMIT = 8 * 1024

/** The browser of a request on a route with `auth: 'proof'` or `'session'`. */
export function browserOf(request: FastifyRequest): Browser {
  if (request.browser === null) throw new KeyServerError('bad-proof')
  return request.browser
}

/** The proven person of a request on a route with `auth: 'session'`. */
export function personOf(request: FastifyRequest): Browser & { readonly session: Session } {
  const browser = browserOf(request)
  if (browser.session === null) throw new KeyServerError('no-session')
  return { ...browser, session: browser.session }
}

/**
 * Lets nobody through to a `proof` or `session` route without one, in the order size, rate, proof, session. Every answer of such a route
 * bears the nonce for the next proof. `origin` is the configured public one: the Host header proves nothing.
 */
export async function proveBrowsers(app: FastifyInstance, parts: Parts, strangers: Strangers): Promise<void> {
  const { config, store, clock } = parts
  const origin = new URL(config.public.url).origin
  const nonces = createNonces()
  await app.register(rateLimit, { global: false, cache: 20_000 })
  const rate = app.createRateLimit({
    max: config.limits.requestsPerNetworkPerMinute,
    timeWindow: 60_000,
    keyGenerator: (request) => networkOf(request.ip),
  })
  app.decorateRequest('browser', null)
  keepOctets(app)

  app.addHook('onRequest', async (request, reply) => {
    if (needsProof(request)) reply.header('dpop-nonce', nonces.current()).header('cache-control', 'no-store')
  })
  app.addHook('preValidation', async (request, reply) => {
    if (!needsProof(request)) return
    const network = networkOf(request.ip)
    const limited = await rate(request)
    if (!limited.isAllowed && limited.isExceeded) {
      strangers.count('server', network, 'too-many')
      throw new KeyServerError('too-many', { retryAfter: limited.ttlInSeconds })
    }
    const token = tokenOf(request.headers.authorization)
    const { pathname } = new URL(request.url, origin)
    const expected = { htm: request.method, htu: `${origin}${pathname}`, body: request.octets, token }
    const verdict = verifyProof(request.headers.dpop, expected, nonces)
    if (verdict.kind === 'refused') {
      if (verdict.code !== 'use-dpop-nonce') strangers.count('server', network, verdict.code)
      challenge(reply, verdict.code === 'use-dpop-nonce' ? 'use_dpop_nonce' : 'invalid_dpop_proof')
      throw new KeyServerError(verdict.code, { detail: verdict.because })
    }
    const { thumbprint } = verdict
    const session = request.routeOptions.config.auth === 'session' ? await findSession(token, thumbprint) : null
    if (session === 'none') {
      strangers.count('server', network, 'no-session')
      challenge(reply, 'invalid_token')
      throw new KeyServerError('no-session')
    }
    const ip = canonicalIp(request.ip)
    request.browser = { thumbprint, proof: String(request.headers.dpop), ip, network, session }
  })

  async function findSession(token: string | null, thumbprint: string): Promise<Session | 'none'> {
    if (token === null) return 'none'
    const session = await store.read((reads) => reads.sessions.find(tokenHash(token)))
    return session !== null && session.thumbprint === thumbprint && session.expiresAt > clock.now() ? session : 'none'
  }
}

/** What the store keeps of a session's token: its SHA-256, base64url. */
export function tokenHash(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}

function needsProof(request: FastifyRequest): boolean {
  const { auth } = request.routeOptions.config
  return auth === 'proof' || auth === 'session'
}

/** RFC 9449 section 7.1. */
function challenge(reply: FastifyReply, error: string): void {
  reply.header('www-authenticate', `DPoP algs="ES256", error="${error}"`)
}

function tokenOf(authorization: string | undefined): string | null {
  return /^DPoP ([A-Za-z0-9_-]{22,128})$/i.exec(authorization ?? '')?.[1] ?? null
}

/** Takes JSON only, and keeps the octets beside what they say: the proof is over the octets. */
function keepOctets(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  app.decorateRequest('octets', null as unknown as Uint8Array)
  app.addHook('onRequest', async (request) => {
    request.octets = new Uint8Array()
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    request.octets = body
    try {
      parse(request, utf8.decode(body), done)
    } catch (cause) {
      done(new KeyServerError('bad-request', { cause }))
    }
  })
}
