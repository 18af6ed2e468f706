import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export type Asked = {
  readonly method: string
  readonly url: URL
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export type Answer = {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** An object goes as JSON. */
  readonly body?: object | string
}

/**
 * What the edge does to a request in place of serving it: `serve`: nothing else. `drop`: not carried out, the connection cut. `lose`: carried out, the connection cut.
 * `hang`: carried out, never answered. `late`: carried out so many milliseconds later, never answered. An answer: given, nothing carried out.
 */
export type Trick = 'serve' | 'drop' | 'lose' | 'hang' | { readonly late: number } | Answer

/** An HTTP server that stands for a provider's cloud, with tricks played on requests as the test says. */
export type CloudEdge = {
  readonly origin: string
  /** `POST /path` of every request, in order. */
  readonly asked: string[]
  /** The next requests whose `POST /path?query` matches get these, one each. */
  trick(which: RegExp, ...tricks: readonly Trick[]): void
  /** The most requests that were under way at the same time. */
  readonly most: () => number
  close(): Promise<void>
}

export async function startCloudEdge(serve: (asked: Asked) => Answer | Promise<Answer>): Promise<CloudEdge> {
  const asked: string[] = []
  const tricks: { readonly which: RegExp; readonly left: Trick[] }[] = []
  const sockets = new Set<Socket>()
  let underWay = 0
  let most = 0

  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '/', `http://${request.headers.host}`)
    const line = `${request.method} ${decodeURIComponent(url.pathname)}${url.search}`
    most = Math.max(most, ++underWay)
    response.on('close', () => underWay--)
    const body = await bodyOf(request).catch(() => null)
    if (body === null) return
    asked.push(line)
    const one: Asked = { method: request.method ?? '', url, headers: request.headers, body }
    const trick = tricks.find(({ which, left }) => left.length > 0 && which.test(line))?.left.shift()
    if (trick === 'drop') return void request.socket.destroy()
    if (typeof trick === 'object' && 'late' in trick) {
      await sleep(trick.late)
      return void serve(one)
    }
    const answer = typeof trick === 'object' ? trick : await serve(one)
    if (trick === 'hang') return
    if (trick === 'lose') return void request.socket.destroy()
    const text = typeof answer.body === 'object' ? JSON.stringify(answer.body) : (answer.body ?? '')
    const type = typeof answer.body === 'object' ? { 'content-type': 'application/json; charset=utf-8' } : {}
    response.writeHead(answer.status, { ...type, ...answer.headers })
    response.end(text)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    trick: (which, ...left) => tricks.push({ which, left: [...left] }),
    most: () => most,
    async close() {
      if (!server.listening) return
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}
