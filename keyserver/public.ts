import { fileURLToPath } from 'node:url'
import helmet from '@fastify/helmet'
import swagger from '@fastify/swagger'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, LogController } from 'fastify'
import { noTracer, type Tracer } from '../telemetry/tracer.ts'
import { createAftermath } from './aftermath.ts'
import { requireAuthorisation } from './authorisation.ts'
import { BODY_LIMIT, proveBrowsers } from './browser.ts'
import { addChallengeRoute } from './challenge.ts'
import type { Door } from './door.ts'
import { createLimits } from './limits.ts'
import { createMailer } from './mailer.ts'
import { addPageRoutes } from './page.ts'
import type { Parts } from './parts.ts'
import { answerProblems, newRequestId, refuseUnreadable } from './problems.ts'
import { addReleaseRoute } from './release.ts'
import { addRevokeRoute } from './revoke.ts'
import { addSessionRoute } from './session.ts'
import { createStrangers } from './strangers.ts'
import { addTicketRoute } from './ticket.ts'
import { traceRoutes } from './traced.ts'

export type PublicOptions = {
  /** The reader's built files. */
  readonly folder?: string
  readonly tracer?: Tracer
}

const READER = fileURLToPath(new URL('../reader/dist', import.meta.url))
const FLUSH_MS = 60_000

/**
 * The public listener's app: the reader page, and the API that it speaks (protocol/reader-api.ts). It is ready to listen; closing it sends
 * the mail that waits and writes what was counted. Throws if a route lacks its authorisation.
 */
export async function createPublicApp(parts: Parts, options: PublicOptions = {}): Promise<FastifyInstance> {
  const { folder = READER, tracer = noTracer } = options
  const { config } = parts
  const app = build(parts)
  const door = openDoor(parts)
  traceRoutes(app, tracer, { joined: false })
  requireAuthorisation(app, ['open', 'proof', 'session'])
  answerProblems(app, (code) => parts.metrics.count('sealpost_refusals_total', { code }))
  await app.register(helmet, headers(new URL(config.public.url).protocol === 'https:'))
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'Sealpost key server', version: '1' } } })
  await proveBrowsers(app, parts, door.strangers)
  await addPageRoutes(app, { config, folder })
  addOpenRoutes(app)
  for (const add of [addChallengeRoute, addSessionRoute, addTicketRoute, addReleaseRoute, addRevokeRoute])
    add(app, door)
  closeWith(app, door)
  await app.ready()
  return app
}

function build({ config, log }: Parts): FastifyInstance {
  const { tls, trustedProxies } = config.public
  const options = {
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: newRequestId,
    frameworkErrors: refuseUnreadable,
    bodyLimit: BODY_LIMIT,
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    requestTimeout: 15_000,
    keepAliveTimeout: 72_000,
    // Fastify's own settings would drop unknown fields and bend types; here both are faults.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false as const, useDefaults: false } },
  }
  if (tls === null) return Fastify(options)
  // The type of an app differs by its socket, which nothing here looks at.
  return Fastify({ ...options, https: { ...tls, ca: undefined, minVersion: 'TLSv1.2' } }) as unknown as FastifyInstance
}

function openDoor(parts: Parts): Door {
  const { config, keyring, clock, metrics, log } = parts
  const mailer = createMailer({
    route: config.mail,
    name: new URL(config.public.url).hostname,
    now: () => performance.now(),
    onResult: (result, cause) => {
      metrics.count('sealpost_codes_total', { result })
      if (result !== 'sent') log.warn({ result, cause }, 'a code was not mailed')
    },
  })
  return {
    ...parts,
    strangers: createStrangers({ ...parts, now: () => clock.now() }),
    limits: createLimits(config.limits, keyring),
    mailer,
    aftermath: createAftermath(log),
  }
}

function headers(https: boolean) {
  return {
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    referrerPolicy: { policy: 'no-referrer' as const },
    crossOriginEmbedderPolicy: false,
    strictTransportSecurity: https ? { maxAge: 31_536_000, includeSubDomains: false } : false,
    xFrameOptions: { action: 'deny' as const },
  }
}

function addOpenRoutes(app: FastifyInstance): void {
  const alive = {
    summary: 'Whether the process is alive',
    response: { 200: Type.Object({ status: Type.Literal('alive') }) },
  }
  app.get('/health/live', { schema: alive, config: { auth: 'open' } }, async () => ({ status: 'alive' as const }))
  app.get('/openapi.json', { schema: { hide: true }, config: { auth: 'open' } }, async () => app.swagger())
}

function closeWith(app: FastifyInstance, { strangers, aftermath, mailer }: Door): void {
  const timer = setInterval(() => void strangers.flush(), FLUSH_MS)
  timer.unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    await aftermath.settle()
    await mailer.close()
    await strangers.flush()
  })
}
