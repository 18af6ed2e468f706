import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { createProof, createProofKey } from '../../reader/dpop.ts'
import { sendOnce } from './dialogue.ts'
import { openScene, policyOf } from './house.ts'
import { envelopeIn, startSink } from './sink.ts'

t.setTimeout(90_000)

/* A whole house; then requests, files and configurations that are wrong. */
const from = 'anna@acme.example'
const to = 'bob@example.org'
const canary = 'canary-of-bad-requests-77aa'
const sink = await startSink()
const scene = await openScene(t, { sink, policy: policyOf() })
const { house } = scene
const mail = Buffer.from(`From: ${from}\r\nTo: ${to}\r\nSubject: ${canary}\r\n\r\n${canary}\r\n`)
t.match(await sendOnce(house.ports.smtp, { from, to: [to], octets: mail }), /^250 /)
const envelope = envelopeIn(sink.deliveries[0]?.octets ?? Buffer.alloc(0))

type Answered = { readonly status: number; readonly type: string; readonly text: string; readonly nonce: string | null }

async function post(
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<Answered> {
  const response = await fetch(house.origin + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })
  const type = response.headers.get('content-type') ?? ''
  return { status: response.status, type, text: await response.text(), nonce: response.headers.get('dpop-nonce') }
}

/** A refusal as RFC 9457 has it, with this code, that repeats nothing of what was sent. */
function refused(test: Test, answer: Answered, code: string | readonly string[], name: string): void {
  const codes = typeof code === 'string' ? [code] : code
  test.ok(answer.status >= 400 && answer.status < 500, `${name}: ${answer.status}`)
  test.match(answer.type, /^application\/problem\+json/, name)
  const problem = JSON.parse(answer.text) as { code: string; status: number; type: string }
  test.ok(codes.includes(problem.code), `${name}: ${problem.code}`)
  test.equal(problem.status, answer.status)
  test.equal(problem.type, `urn:sealpost:problem:${problem.code}`)
  test.notMatch(answer.text, canary, `${name}: no echo`)
  test.notMatch(answer.text, /\bat .*\.ts:\d+|node_modules|SQLITE/i, `${name}: no inside`)
}

const key = await createProofKey()
async function prove(path: string, body: Uint8Array<ArrayBuffer>, nonce: string | null, token: string | null = null) {
  return createProof(key, { url: house.origin + path, body, nonce, token })
}
const octets = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))

async function freshNonce(): Promise<string> {
  const body = octets({ envelope, address: to })
  const { nonce } = await post('/v1/code', body, { DPoP: await prove('/v1/code', body, null) })
  return nonce ?? ''
}

t.test('a request that is not what the schema says is a problem with a stable code', async (t) => {
  const cases: [string, unknown, string][] = [
    ['malformed JSON', `{"envelope": "${canary}"`, 'bad-request'],
    ['an unknown field', { envelope, address: to, [canary]: canary }, 'bad-request'],
    ['a wrong id', { envelope: canary, address: to }, 'bad-request'],
    ['an id with stray bits', { envelope: `${envelope.slice(0, 21)}B`, address: to }, 'bad-request'],
    ['another type', { envelope: [canary], address: { canary } }, 'bad-request'],
    ['no object', [canary], 'bad-request'],
    ['nothing', '', 'bad-request'],
    ['a prototype', `{"__proto__": {"x": "${canary}"}, "envelope": "${envelope}", "address": "${to}"}`, 'bad-request'],
    ['far too much', { envelope, address: canary.repeat(100_000) }, 'too-large'],
  ]
  for (const [name, value, code] of cases) {
    const body = octets(value)
    const proof = await prove('/v1/code', body, await freshNonce())
    refused(t, await post('/v1/code', body, { DPoP: proof }), code, name)
  }
})

t.test('a proof is good once, for this body, this address and this nonce', async (t) => {
  const body = octets({ envelope, address: to })
  const nonce = await freshNonce()
  const proof = await prove('/v1/code', body, nonce)
  t.equal((await post('/v1/code', body, { DPoP: proof })).status, 202)
  refused(t, await post('/v1/code', body, { DPoP: proof }), 'replayed-proof', 'replayed')
  const other = octets({ envelope, address: 'eve@example.net' })
  refused(t, await post('/v1/code', other, { DPoP: await prove('/v1/code', body, nonce) }), 'bad-proof', 'another body')
  refused(
    t,
    await post('/v1/code', body, { DPoP: await prove('/v1/session', body, nonce) }),
    'bad-proof',
    'another path',
  )
  const stale = await prove('/v1/code', body, `${canary}-nonce`)
  refused(t, await post('/v1/code', body, { DPoP: stale }), 'use-dpop-nonce', 'a nonce that was never given')
  refused(t, await post('/v1/code', body), ['bad-proof', 'use-dpop-nonce'], 'no proof')
  refused(t, await post('/v1/code', body, { DPoP: `${canary}.${canary}.${canary}` }), 'bad-proof', 'no JWT')
  const [head = '', claims = '', signature = ''] = (await prove('/v1/code', body, nonce)).split('.')
  const none = Buffer.from(
    JSON.stringify({ ...JSON.parse(Buffer.from(head, 'base64url').toString()), alg: 'none' }),
  ).toString('base64url')
  refused(t, await post('/v1/code', body, { DPoP: `${none}.${claims}.` }), 'bad-proof', 'alg none')
  const flipped = `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`
  refused(
    t,
    await post('/v1/code', body, { DPoP: `${head}.${claims}.${flipped}` }),
    'bad-proof',
    'an altered signature',
  )
})

t.test('without a session nothing is released, and a token that never was is no session', async (t) => {
  const body = octets({ envelope })
  for (const token of [null, canary, 'A'.repeat(43)]) {
    const proof = await prove('/v1/ticket', body, await freshNonce(), token)
    const headers = token === null ? { DPoP: proof } : { DPoP: proof, Authorization: `DPoP ${token}` }
    refused(t, await post('/v1/ticket', body, headers), ['no-session', 'bad-proof'], `token ${token}`)
  }
  refused(t, await post(`/v1/${canary}`, body), 'not-found', 'no such route')
  const got = await fetch(`${house.origin}/m/${canary}`)
  t.ok(got.status < 500)
})

t.test(
  'the gateways listener lets in nobody without a certificate of ours, and no gateway where an officer is asked',
  async (t) => {
    const certs = join(house.folder, 'certs')
    const ca = readFileSync(join(certs, 'ca.pem'))
    await t.rejects(call({ ca }, '/v1/issue', '{}'), 'no certificate')
    const gateway = {
      ca,
      cert: readFileSync(join(certs, 'gateway-gw1.pem')),
      key: readFileSync(join(certs, 'gateway-gw1.key')),
    }
    const revoke = JSON.stringify({ org: 'acme.example', id: envelope, reason: canary })
    refused(t, await call(gateway, '/v1/revoke', revoke), 'not-authorised', 'a gateway is no officer')
    refused(t, await call(gateway, '/v1/issue', `{"${canary}`), 'bad-request', 'malformed')
    refused(
      t,
      await call(gateway, '/v1/issue', JSON.stringify({ instance: envelope, requests: [], [canary]: 1 })),
      'bad-request',
      'unknown field',
    )
    const foreign = {
      org: 'other.example',
      policyHash: '0'.repeat(64),
      verdict: 'pass',
      rule: 'x',
      sender: null,
      messageDigest: null,
      recipients: [{ address: to, retryKey: null }],
    }
    const { status, text } = await call(
      gateway,
      '/v1/issue',
      JSON.stringify({ instance: envelope, requests: [foreign] }),
    )
    t.match(text, /not-authorised|not-found/, `another organization: ${status}`)
  },
)

function call(tls: { ca: Buffer; cert?: Buffer; key?: Buffer }, path: string, body: string): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const agent = new Agent({ ...tls, keepAlive: false })
    const sent = request(
      {
        agent,
        host: 'localhost',
        port: house.ports.gateways,
        path,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            type: response.headers['content-type'] ?? '',
            text: Buffer.concat(chunks).toString(),
            nonce: null,
          }),
        )
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}

t.test('a broken policy leaves the last good one in force, and health says why', async (t) => {
  const good = readFileSync(house.policyFile, 'utf8')
  const health = async () => (await fetch(`http://127.0.0.1:${house.ports.keyserverOps}/health/ready`)).text()
  t.notMatch(await health(), /last good/)
  writeFileSync(house.policyFile, good.replace('default: seal', 'default: pass\nsurprise: 1'))
  const said = await until(health, (text) => /last good/.test(text))
  t.match(said, /policy acme\.example/)
  t.match(said, /line \d+, column \d+/)
  t.match(said, /surprise/)
  t.match(await sendOnce(house.ports.smtp, { from, to: ['still@example.org'], octets: mail }), /^250 /)
  t.notMatch(
    sink.to('still@example.org')[0]?.octets.toString('latin1') ?? canary,
    `\r\n\r\n${canary}`,
    'the old policy seals',
  )
  writeFileSync(house.policyFile, good)
  t.notMatch(await until(health, (text) => !/last good/.test(text)), /last good/, 'and a good file ends it')
})

async function until(ask: () => Promise<string>, fits: (text: string) => boolean): Promise<string> {
  for (let waited = 0; waited < 15_000; waited += 100) {
    const said = await ask()
    if (fits(said)) return said
    await sleep(100)
  }
  throw new Error(`it went on saying: ${await ask()}`)
}

t.test('a wrong configuration is refused with every fault at once, exit 78', async (t) => {
  for (const [program, file, secretKey] of [
    ['gateway', join(house.folder, 'gateway-gw1.yaml'), 'nextHop'],
    ['keyserver', join(house.folder, 'keyserver.yaml'), 'mail'],
  ] as const) {
    const config = parse(readFileSync(file, 'utf8')) as Record<string, unknown>
    const wrong = { ...config, ops: { host: '0.0.0.0', port: 'many' }, surprise: canary, [secretKey]: { port: 70_000 } }
    const broken = join(house.folder, `broken-${program}.yaml`)
    writeFileSync(broken, stringify(wrong))
    const ended = spawnSync(process.execPath, [join(root, program, 'main.ts'), broken], {
      encoding: 'utf8',
      timeout: 20_000,
    })
    t.equal(ended.status, 78, program)
    const faults = ended.stderr.trim().split('\n')
    t.ok(faults.length >= 3, `${program} tells ${faults.length} faults at once`)
    t.match(ended.stderr, /surprise/)
    t.match(ended.stderr, /ops/)
    t.notMatch(ended.stderr, /\.ts:\d+/, 'and no stack')
    for (const absent of [join(house.folder, 'absent.yaml'), house.folder]) {
      const none = spawnSync(process.execPath, [join(root, program, 'main.ts'), absent], {
        encoding: 'utf8',
        timeout: 20_000,
      })
      t.equal(none.status, 78, `${program}: ${absent}`)
      t.notMatch(none.stderr, /\.ts:\d+/)
    }
  }
})
const root = join(import.meta.dirname, '..', '..')

t.test('after all of it the same processes answer, and no log holds what was sent', async (t) => {
  t.equal(scene.gateway.child.exitCode, null)
  t.equal(scene.keyserver.child.exitCode, null)
  t.match(await sendOnce(house.ports.smtp, { from, to: ['after@example.org'], octets: mail }), /^250 /)
  t.notMatch(await scene.logs(), canary)
})
