import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** A span as it was posted, with the service that it is of. */
export type Posted = {
  readonly service: string
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly kind: number
  readonly attributes: Readonly<Record<string, unknown>>
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[]
  readonly status?: { readonly code?: number; readonly message?: string }
  readonly events?: readonly unknown[]
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
}

type Value = { readonly stringValue?: string; readonly intValue?: number | string; readonly doubleValue?: number }
type Pair = { readonly key: string; readonly value: Value }
type Export = {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Pair[] }
    readonly scopeSpans: readonly {
      readonly spans: readonly (Omit<Posted, 'attributes' | 'links' | 'service'> & {
        readonly attributes?: readonly Pair[]
        readonly links?: Posted['links']
      })[]
    }[]
  }[]
}

/** A collector of OTLP over HTTP in JSON (opentelemetry.io/docs/specs/otlp) that keeps what it gets. */
export type Collector = {
  readonly url: string
  readonly spans: Posted[]
  /** Everything posted, as text. */
  text(): string
  /** The reply's status from now on; 0: none ever. */
  answer: number
  /** The first span that fits, waited for. */
  find(fits: (span: Posted) => boolean, ms?: number): Promise<Posted>
  close(): Promise<void>
}

export async function startCollector(): Promise<Collector> {
  const spans: Posted[] = []
  const texts: string[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    if (collector.answer === 0) return
    if (collector.answer === 200 && request.method === 'POST' && request.url === '/v1/traces') {
      const text = Buffer.concat(chunks).toString('utf8')
      texts.push(text)
      spans.push(...spansIn(JSON.parse(text) as Export))
    }
    response.writeHead(collector.answer, { 'content-type': 'application/json' }).end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const bound = server.address()
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0
  const collector: Collector = {
    url: `http://127.0.0.1:${port}`,
    spans,
    text: () => texts.join('\n'),
    answer: 200,
    async find(fits, ms = 10_000) {
      for (const end = Date.now() + ms; Date.now() < end; await sleep(50)) {
        const found = spans.find(fits)
        if (found !== undefined) return found
      }
      throw new Error(`no such span among: ${spans.map(({ service, name }) => `${service} ${name}`).join(', ')}`)
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return collector
}

function spansIn(posted: Export): Posted[] {
  return posted.resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = String(valuesOf(resource.attributes)['service.name'])
    return scopeSpans.flatMap(({ spans }) =>
      spans.map(({ attributes = [], links = [], ...span }) => ({
        ...span,
        service,
        links,
        attributes: valuesOf(attributes),
      })),
    )
  })
}

function valuesOf(pairs: readonly Pair[]): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? value.doubleValue]),
  )
}
