import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { telemetryOf } from '../../telemetry/config.ts'
import { openTelemetry } from '../../telemetry/index.ts'
import { noTracer } from '../../telemetry/tracer.ts'
import { startCollector } from './collector.ts'

const quiet = () => undefined

t.test('without configuration nothing is measured, and no package is loaded', async (t) => {
  t.equal(await openTelemetry(telemetryOf(undefined, 'x'), quiet), noTracer)
  t.equal(await noTracer.within('a', {}, async () => 7), 7)
  t.equal(noTracer.here(), null)
  const root = join(import.meta.dirname, '../..')
  const loadedWith = (...modules: string[]) => {
    const script = `
      import { registerHooks } from 'node:module'
      let count = 0
      registerHooks({ resolve(name, context, next) { if (name.startsWith('@opentelemetry/')) count++; return next(name, context) } })
      for (const name of ${JSON.stringify(modules)}) await import(name)
      console.log(count)`
    const argv = ['--input-type=module', '-e', script]
    return Number(execFileSync(process.execPath, argv, { cwd: root, encoding: 'utf8' }))
  }
  t.equal(loadedWith('./gateway/gateway.ts', './keyserver/server.ts'), 0)
  t.ok(loadedWith('./telemetry/otlp.ts') > 0, 'or it would have been seen')
})

t.test('a collector is named by its address, the path is that of OTLP', async (t) => {
  const of = (traces: string) => telemetryOf({ traces }, 'sealpost-gateway')?.url
  t.equal(of('http://127.0.0.1:4318'), 'http://127.0.0.1:4318/v1/traces')
  t.equal(of('https://traces.acme.example/otlp/v1/traces'), 'https://traces.acme.example/otlp/v1/traces')
  t.same(telemetryOf({ traces: 'http://a', service: 'gw2', share: 0.5 }, 'x'), {
    url: 'http://a/v1/traces',
    service: 'gw2',
    share: 0.5,
  })
})

t.test('spans have their parents, links, kinds and nothing but what is allowed', async (t) => {
  const collector = await startCollector()
  const tracer = await openTelemetry({ url: `${collector.url}/v1/traces`, service: 'here', share: 1 }, quiet)
  let elsewhere = tracer.here()
  t.equal(elsewhere, null)
  await tracer.within('other', {}, async () => {
    elsewhere = tracer.here()
  })
  await t.rejects(
    tracer.within('outer', { org: 'acme.example', size: 5 }, async (span) => {
      span.note({ code: 250, rule: 'x'.repeat(5000) })
      await tracer.within('inner', { method: 'GET', route: '/v1/keys', code: 200 }, async () => undefined, {
        kind: 'client',
        links: [elsewhere, null],
      })
      await tracer.apart(() => tracer.within('alone', {}, async () => undefined))
      tracer.begin('joined', {}, { kind: 'server', from: elsewhere }).end()
      tracer.begin('root', {}, { kind: 'server', from: { traceparent: 'no such thing' } }).end()
      throw new Error('words of somebody@example.org')
    }),
  )
  await tracer.close()
  const named = (name: string) => collector.spans.find((span) => span.name === name)
  const [outer, inner, other] = [named('outer'), named('inner'), named('other')]
  t.same(outer?.attributes, {
    'sealpost.org': 'acme.example',
    'sealpost.size': 5,
    'sealpost.code': 250,
    'sealpost.rule': 'x'.repeat(200),
  })
  t.same(inner?.attributes, {
    'http.request.method': 'GET',
    'http.route': '/v1/keys',
    'http.response.status_code': 200,
  })
  t.equal(inner?.parentSpanId, outer?.spanId)
  t.equal(inner?.kind, 3)
  t.match(inner?.links, [{ traceId: other?.traceId, spanId: other?.spanId }])
  t.match(outer?.status, { code: 2 })
  t.equal(named('alone')?.parentSpanId, undefined)
  t.equal(named('joined')?.traceId, other?.traceId)
  t.equal(named('root')?.parentSpanId, undefined)
  t.notMatch(collector.text(), /somebody|words of/, 'an error tells that it was, not what it said')
  await collector.close()
})

t.test('a collector that is gone, or never answers, delays nothing and is told of once', async (t) => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const bound = silent.address()
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0
  const held = new Set<{ destroy(): void }>()
  silent.on('connection', (socket) => held.add(socket.on('error', quiet)))
  const told: string[] = []
  for (const url of [`http://127.0.0.1:${port}/v1/traces`, 'http://127.0.0.1:9/v1/traces']) {
    const tracer = await openTelemetry({ url, service: 'x', share: 1 }, (message) => told.push(message))
    const begun = performance.now()
    for (let i = 0; i < 20_000; i++) await tracer.within('mail', { size: i }, async () => undefined)
    t.ok(performance.now() - begun < 5_000, '20,000 spans')
    await sleep(1_200)
    const closing = performance.now()
    await tracer.close()
    t.ok(performance.now() - closing < 3_000, 'and the process ends in time')
  }
  t.ok(told.length <= 2 && told.every((message) => message.includes('dropped')), told.join())
  for (const socket of held) socket.destroy()
  silent.close()
})

t.test('a share of none measures nothing that begins here', async (t) => {
  const collector = await startCollector()
  const tracer = await openTelemetry({ url: `${collector.url}/v1/traces`, service: 'x', share: 0 }, quiet)
  for (let i = 0; i < 50; i++) await tracer.within('mail', {}, async () => undefined)
  await tracer.close()
  t.same(collector.spans, [])
  await collector.close()
})
