import swagger from '@fastify/swagger'
import Fastify, { type FastifyInstance, LogController } from 'fastify'
import type { Tracer } from '../telemetry/tracer.ts'
import { requireAuthorisation } from './authorisation.ts'
import { identifyClients } from './client.ts'
import type { Parts } from './parts.ts'
import { answerProblems, newRequestId, refuseUnreadable } from './problems.ts'
import { feedRoutes } from './routes-feed.ts'
import { bulkRoutes } from './routes-gateway.ts'
import { heldRoutes } from './routes-held.ts'
import { officerRoutes } from './routes-officer.ts'
import { traceRoutes } from './traced.ts'

/** The listener of gateways and officers: nobody gets in without a certificate of its authority. */
export async function createGatewayApp(parts: Parts, tracer: Tracer): Promise<FastifyInstance> {
  const { tls } = parts.config.gatewayListener
  const app = Fastify({
    loggerInstance: parts.log,
    logController: new LogController({ disableRequestLogging: true }),
    https: {
      cert: tls.cert,
      key: tls.key,
      ca: tls.ca,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      maxHeaderSize: 16 * 1024,
    },
    ...limits,
  })
  traceRoutes(app, tracer, { joined: true })
  requireAuthorisation(app, ['gateway', 'officer'])
  answerProblems(app)
  identifyClients(app, parts.config)
  await app.register(swagger, {
    openapi: { openapi: '3.1.0', info: { title: 'Sealpost key server, for gateways and officers', version: '1' } },
  })
  bulkRoutes(app, parts)
  feedRoutes(app, parts)
  officerRoutes(app, parts)
  heldRoutes(app, parts)
  app.get('/openapi.json', { schema: { hide: true }, config: { auth: 'gateway' } }, async () => app.swagger())
  await app.ready()
  return app
}

/** What no request may exceed, and nothing is bent to fit its schema. */
const limits = {
  bodyLimit: 1024 * 1024,
  requestTimeout: 30_000,
  keepAliveTimeout: 90_000,
  connectionTimeout: 120_000,
  genReqId: (): string => newRequestId(),
  frameworkErrors: refuseUnreadable,
  ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, allErrors: false } },
} as const
