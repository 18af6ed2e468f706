import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { OpenSpan, Tracer } from '../telemetry/tracer.ts'

/**
 * A span for each request, by the name of its route. With `joined` it is part of the caller's trace, as the header `traceparent` says (W3C Trace
 * Context): for callers with a certificate. Anybody else could grow foreign traces, or switch measuring on.
 */
export function traceRoutes(app: FastifyInstance, tracer: Tracer, { joined }: { readonly joined: boolean }): void {
  if (!tracer.on) return
  const spans = new WeakMap<FastifyRequest, OpenSpan>()
  app.addHook('onRequest', async (request) => {
    const { traceparent } = request.headers
    const from = joined && typeof traceparent === 'string' ? { traceparent } : null
    const route = request.routeOptions.url ?? 'unknown'
    const { method } = request
    spans.set(request, tracer.begin(`${method} ${route}`, { method, route }, { kind: 'server', from }))
  })
  app.addHook('onResponse', async (request, reply) => {
    const span = spans.get(request)
    span?.note({ method: request.method, code: reply.statusCode })
    if (reply.statusCode >= 500) span?.failed()
    span?.end()
  })
}
