import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Span as ApiSpan, type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { TRACE_PARENT_HEADER, W3CTraceContextPropagator } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { TelemetryConfig } from './config.ts'
import type { Attributes, OpenSpan, Point, SpanOptions, Tracer } from './tracer.ts'
import { watchExporter } from './watched-exporter.ts'

/** Spans that wait for the collector; more are dropped. */
const QUEUE = 4096
const BATCH = 512
const EVERY_MS = 1_000
const POST_MS = 5_000
const CLOSE_MS = 2_000
const LINKS = 64
const LENGTH = 200

/** What each may be called outside. Nothing else leaves. */
const NAMES: Readonly<Record<keyof Attributes, string>> = {
  org: 'sealpost.org',
  rule: 'sealpost.rule',
  verdict: 'sealpost.verdict',
  size: 'sealpost.size',
  code: 'sealpost.code',
  method: 'http.request.method',
  route: 'http.route',
}
const KINDS = { internal: SpanKind.INTERNAL, client: SpanKind.CLIENT, server: SpanKind.SERVER } as const

/** Spans by OTLP over HTTP in JSON, off the path of mail: a collector that is slow or gone costs spans and nothing else. */
export function createOtlpTracer(config: TelemetryConfig, tell: (message: string) => void): Tracer {
  const exporter = watchExporter(
    new OTLPTraceExporter({ url: config.url, timeoutMillis: POST_MS, concurrencyLimit: 2 }),
    tell,
  )
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': config.service }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(config.share) }),
    spanLimits: { attributeValueLengthLimit: LENGTH, linkCountLimit: LINKS },
    spanProcessors: [
      new BatchSpanProcessor({
        ...{ exporter, maxQueueSize: QUEUE, maxExportBatchSize: BATCH },
        ...{ scheduledDelayMillis: EVERY_MS, exportTimeoutMillis: 2 * POST_MS },
      }),
    ],
  })
  const tracer = provider.getTracer('sealpost')
  const current = new AsyncLocalStorage<ApiSpan>()

  function start(name: string, attributes: Attributes, options: SpanOptions): ApiSpan {
    const { kind = 'internal', from, links = [] } = options
    const running = current.getStore()
    const here = running === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, running)
    const parent = from === undefined ? here : contextOf(from)
    const linked = links.slice(0, LINKS).flatMap((point) => trace.getSpanContext(contextOf(point)) ?? [])
    const described = {
      kind: KINDS[kind],
      attributes: named(attributes),
      links: linked.map((context) => ({ context })),
    }
    return tracer.startSpan(name, described, parent)
  }

  return {
    on: true,
    async within(name, attributes, act, options = {}) {
      const span = start(name, attributes, options)
      const open = openSpanOf(span)
      try {
        return await current.run(span, () => act(open))
      } catch (error) {
        open.failed()
        throw error
      } finally {
        span.end()
      }
    },
    begin: (name, attributes, options = {}) => openSpanOf(start(name, attributes, options)),
    here() {
      const span = current.getStore()
      return span === undefined ? null : pointOf(span)
    },
    apart: (act) => current.exit(act),
    async close() {
      const waiting = new AbortController()
      const over = sleep(CLOSE_MS, null, { signal: waiting.signal, ref: false }).catch(() => null)
      await Promise.race([provider.shutdown().catch(() => null), over])
      waiting.abort()
    },
  }
}

const propagator = new W3CTraceContextPropagator()

function pointOf(span: ApiSpan): Point {
  const carrier: Record<string, string> = {}
  propagator.inject(trace.setSpan(ROOT_CONTEXT, span), carrier, {
    set: (target: Record<string, string>, name, value) => {
      target[name] = value
    },
  })
  const traceparent = carrier[TRACE_PARENT_HEADER]
  return traceparent === undefined ? null : { traceparent }
}

/** Without a parent where it names none that can be read. */
function contextOf(point: Point): Context {
  if (point === null) return ROOT_CONTEXT
  return propagator.extract(ROOT_CONTEXT, point, {
    get: (carrier: { readonly traceparent: string }, name) =>
      name === TRACE_PARENT_HEADER ? carrier.traceparent : undefined,
    keys: () => [TRACE_PARENT_HEADER],
  })
}

function openSpanOf(span: ApiSpan): OpenSpan {
  return {
    note: (attributes) => void span.setAttributes(named(attributes)),
    // Without a message: an error's words may hold an address.
    failed: () => void span.setStatus({ code: SpanStatusCode.ERROR }),
    end: () => span.end(),
  }
}

function named(attributes: Attributes): Record<string, string | number> {
  const known: Record<string, string | number> = {}
  for (const name of Object.keys(NAMES) as (keyof Attributes)[]) {
    const value = attributes[name]
    if (value !== undefined)
      known[name === 'code' && attributes.method !== undefined ? 'http.response.status_code' : NAMES[name]] = value
  }
  return known
}
