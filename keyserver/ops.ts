import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, LogController } from 'fastify'
import { requireAuthorisation } from './authorisation.ts'
import type { Health } from './health.ts'
import type { Parts } from './parts.ts'
import { answerProblems, newRequestId, refuseUnreadable } from './problems.ts'

const auth = { auth: 'loopback' } as const

const HealthAnswer = Type.Object({
  status: Type.String(),
  parts: Type.Array(
    Type.Object({ part: Type.String(), state: Type.String(), because: Type.Union([Type.String(), Type.Null()]) }),
  ),
})

/** Health and metrics, for this machine only. Ready answers 503 where a part is down; degraded is ready, and says why. */
export async function createOpsApp({ log, metrics }: Parts, examine: () => Promise<Health>): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: newRequestId,
    frameworkErrors: refuseUnreadable,
    bodyLimit: 1024,
  })
  requireAuthorisation(app, ['loopback'])
  answerProblems(app)
  const live = { response: { 200: Type.Object({ status: Type.Literal('alive') }) } }
  app.get('/health/live', { config: auth, schema: live }, async () => ({ status: 'alive' }))
  const ready = { response: { 200: HealthAnswer, 503: HealthAnswer } }
  app.get('/health/ready', { config: auth, schema: ready }, async (_request, reply) => {
    const health = await examine()
    return await reply.code(health.status === 'down' ? 503 : 200).send(health)
  })
  app.get('/metrics', { config: auth, schema: { response: { 200: Type.String() } } }, async (_request, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8')
    return metrics.render()
  })
  await app.ready()
  return app
}
