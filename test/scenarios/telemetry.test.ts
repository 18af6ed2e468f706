import t from 'tap'
import { startCollector } from '../telemetry/collector.ts'
import { sendOnce } from './dialogue.ts'
import { openScene } from './house.ts'
import { envelopeIn, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(90_000)

/* One message through both processes, as a collector sees it. */
const collector = await startCollector()
t.teardown(() => collector.close())
const sink = await startSink()
const telemetry = { traces: collector.url }
const scene = await openScene(t, { sink, keyserver: () => ({ telemetry }), gateway: () => ({ telemetry }) })
const { smtp } = scene.house.ports
const octets = Buffer.from(
  'From: anna@acme.example\r\nTo: bob@example.org\r\nSubject: canary-subject\r\nMessage-ID: <canary-id@acme.example>\r\n\r\ncanary-body\r\n',
)

t.test('one trace tells the way of a message, in both processes', async (t) => {
  t.match(await sendOnce(smtp, { from: 'anna@acme.example', to: ['bob@example.org'], octets }), /^250 /)
  const route = await collector.find(
    ({ service, name }) => service === 'sealpost-keyserver' && name === 'POST /v1/steps',
  )
  const message = await collector.find(({ name, traceId }) => name === 'message' && traceId === route.traceId)
  const one = (name: string) =>
    collector.find(
      (span) =>
        span.traceId === message.traceId &&
        span.name === name &&
        span.service === 'sealpost-gateway' &&
        span.kind !== 3,
    )
  t.equal(message.parentSpanId, undefined)
  t.match(message.attributes, { 'sealpost.org': 'acme.example', 'sealpost.code': 250, 'sealpost.size': octets.length })
  for (const step of ['accept', 'decide', 'issue', 'seal', 'confirm', 'deliver', 'outcome']) {
    const span = await one(step)
    t.equal(span.parentSpanId, message.spanId, step)
    t.ok(BigInt(span.startTimeUnixNano) >= BigInt(message.startTimeUnixNano), `${step} lies within`)
  }
  t.match((await one('decide')).attributes, { 'sealpost.verdict': 'seal', 'sealpost.rule': 'default' })
  t.match((await one('issue')).attributes, { 'sealpost.verdict': 'seal', 'sealpost.rule': 'default' })
  t.match((await one('deliver')).attributes, { 'sealpost.code': 250 })
  for (const step of ['issue', 'confirm', 'outcome']) {
    const here = await one(step)
    const call = await collector.find(({ parentSpanId }) => parentSpanId === here.spanId)
    t.match(call, { name: 'POST /v1/steps', kind: 3, service: 'sealpost-gateway' }, `${step}: the call`)
    const there = await collector.find(({ parentSpanId }) => parentSpanId === call.spanId)
    t.match(
      there,
      { name: 'POST /v1/steps', kind: 2, service: 'sealpost-keyserver', traceId: message.traceId },
      'its route',
    )
    t.match(there.attributes, { 'http.response.status_code': 200, 'http.route': '/v1/steps' })
  }
})

t.test('mails that share a call each have a trace, and the call is linked to all', async (t) => {
  const from = collector.spans.length
  const to = (i: number) => [`r${i}@example.net`]
  const replies = await Promise.all(
    Array.from({ length: 12 }, (_, i) => sendOnce(smtp, { from: 'anna@acme.example', to: to(i), octets })),
  )
  for (const reply of replies) t.match(reply, /^250 /)
  const fresh = () => collector.spans.slice(from)
  await collector.find(() => fresh().filter(({ name }) => name === 'message').length === 12)
  const calls = fresh().filter(({ name, kind }) => name === 'POST /v1/steps' && kind === 3)
  const reached = calls.flatMap(({ traceId, links }) => [traceId, ...links.map((link) => link.traceId)])
  const traces = fresh()
    .filter(({ name }) => name === 'message')
    .map(({ traceId }) => traceId)
  t.equal(new Set(traces).size, 12)
  t.same(
    traces.filter((trace) => !reached.includes(trace)),
    [],
  )
})

t.test('browsers cannot join a trace, and what they ask is measured by route', async (t) => {
  const mail =
    sink.deliveries.find(({ recipients }) => recipients.includes('bob@example.org'))?.octets ?? Buffer.alloc(0)
  const envelope = envelopeIn(mail)
  const reader = await scene.prove(envelope, 'bob@example.org')
  await reader.open(envelope, sealedCopyIn(mail))
  const release = await collector.find(({ name }) => name === 'POST /v1/release')
  t.equal(release.parentSpanId, undefined)
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const live = `http://127.0.0.1:${scene.house.ports.public}/health/live`
  t.equal((await fetch(live, { headers: { traceparent } })).status, 200)
  await collector.find(({ name }) => name === 'GET /health/live')
  t.notOk(collector.spans.some(({ traceId }) => traceId === '0af7651916cd43dd8448eb211c80319c'))
})

t.test('no span tells an address, a subject, an id, a code or a key', async (t) => {
  await collector.find(({ name }) => name === 'POST /v1/release')
  const allowed = ['sealpost.org', 'sealpost.rule', 'sealpost.verdict', 'sealpost.size', 'sealpost.code']
  allowed.push('http.request.method', 'http.route', 'http.response.status_code')
  const used = new Set(collector.spans.flatMap(({ attributes }) => Object.keys(attributes)))
  t.same(
    [...used].filter((name) => !allowed.includes(name)),
    [],
  )
  t.notMatch(collector.text(), /canary|@|example\.(?:org|net)/)
  for (const { octets } of sink.deliveries) {
    if (octets.includes('.sealpost')) t.notMatch(collector.text(), envelopeIn(octets))
  }
  for (const { events = [], status } of collector.spans) {
    t.same(events, [])
    t.equal(status?.message ?? '', '')
  }
})

t.test('mail goes on as before while the collector is away', async (t) => {
  collector.answer = 0
  const begun = performance.now()
  for (let i = 0; i < 5; i++) {
    t.match(await sendOnce(smtp, { from: 'anna@acme.example', to: [`x${i}@example.net`], octets }), /^250 /)
  }
  t.ok(performance.now() - begun < 5_000)
})
