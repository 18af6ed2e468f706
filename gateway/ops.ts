import { createServer, type Server } from 'node:http'

export type OpsParts = {
  /** What keeps us from working, in plain words; empty when ready. */
  readonly reasons: () => readonly string[]
  /** Prometheus text. */
  readonly metrics: () => string
}

/** `/health/live`, `/health/ready` with reasons, `/metrics`. Not yet listening; meant for a loopback address. */
export function createOpsServer(parts: OpsParts): Server {
  return createServer((request, response) => {
    const send = (status: number, type: string, body: string) => {
      response.writeHead(status, {
        'content-type': type,
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      })
      response.end(request.method === 'HEAD' ? undefined : body)
    }
    const json = (status: number, body: unknown) => send(status, 'application/json', `${JSON.stringify(body)}\n`)
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return json(405, { status: 'only GET and HEAD are answered' })
    const reasons = parts.reasons()
    switch (request.url) {
      case '/health/live':
        return json(200, { status: 'alive' })
      case '/health/ready':
        return json(reasons.length === 0 ? 200 : 503, { status: reasons.length === 0 ? 'ready' : 'not ready', reasons })
      case '/metrics':
        return send(200, 'text/plain; version=0.0.4; charset=utf-8', parts.metrics())
      default:
        return json(404, { status: 'there is nothing here' })
    }
  })
}
