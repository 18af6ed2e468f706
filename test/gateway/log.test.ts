import { PassThrough } from 'node:stream'
import t from 'tap'
import { createLog } from '../../gateway/log.ts'
import { createMetrics } from '../../gateway/metrics.ts'

function record() {
  const stream = new PassThrough()
  const lines: string[] = []
  stream.on('data', (chunk: Buffer) => lines.push(chunk.toString()))
  return { log: createLog('info', stream), lines }
}

t.test('a field that is not allowed does not reach the log, whoever passes it', (t) => {
  const { log, lines } = record()
  const careless = { org: 'acme.example', subject: 'secret', body: 'secret', to: 'secret@example.org', token: 'secret' }
  log.info('something', careless)
  log.debug('below the level')
  t.equal(lines.length, 1)
  const line = JSON.parse(lines[0] ?? '')
  t.match(line, { level: 'info', org: 'acme.example', msg: 'something' })
  t.notMatch(lines[0], 'secret')
  t.end()
})

t.test('a cause is told with its class, code and message, and without its stack', (t) => {
  const { log, lines } = record()
  const inner = Object.assign(new Error('connect failed'), { code: 'ECONNREFUSED' })
  log.error('failed', { cause: new TypeError('outer', { cause: inner }) })
  log.error('failed', { cause: 'a string' })
  t.equal(JSON.parse(lines[0] ?? '').cause, 'TypeError: outer < Error ECONNREFUSED: connect failed')
  t.equal(JSON.parse(lines[1] ?? '').cause, 'string')
  t.end()
})

t.test('metrics count what happened', (t) => {
  let now = 0
  const metrics = createMetrics(() => now)
  metrics.accepted()
  metrics.outcome('sent', 2)
  metrics.refused('too-large')
  metrics.refused('too-large')
  const done = metrics.started()
  t.match(metrics.render(), 'sealpost_gateway_in_flight 1')
  now = 30
  done()
  const text = metrics.render()
  for (const line of [
    'sealpost_gateway_accepted_total 1',
    'sealpost_gateway_recipients_total{outcome="sent"} 2',
    'sealpost_gateway_refused_total{reason="too-large"} 2',
    'sealpost_gateway_in_flight 0',
    'sealpost_gateway_duration_seconds_bucket{le="0.025"} 0',
    'sealpost_gateway_duration_seconds_bucket{le="0.05"} 1',
    'sealpost_gateway_duration_seconds_bucket{le="+Inf"} 1',
    'sealpost_gateway_duration_seconds_count 1',
  ]) {
    t.ok(text.includes(`${line}\n`), line)
  }
  t.end()
})
