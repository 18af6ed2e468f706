import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { requireAuthorisation } from '../../keyserver/authorisation.ts'
import { createPublicApp } from '../../keyserver/public.ts'
import { createProof, createProofKey } from '../../reader/dpop.ts'
import { fetchAt, type House, openHouse } from './house.ts'

type Sent = { readonly body?: string | Uint8Array<ArrayBuffer>; readonly headers?: Record<string, string> }

/** A request with a good proof, unless its headers say otherwise. */
async function post(house: House, path: string, { body = '{}', headers = {} }: Sent) {
  const reach = fetchAt(house.base, '203.0.113.5')
  const key = await createProofKey()
  const octets = typeof body === 'string' ? new TextEncoder().encode(body) : body
  const first = await reach(`${house.origin}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  })
  const nonce = first.headers.get('dpop-nonce')
  const proof = await createProof(key, { url: house.origin + path, body: octets, nonce, token: null })
  const all = { 'content-type': 'application/json', dpop: proof, ...headers }
  const response = await reach(`${house.origin}${path}`, { method: 'POST', headers: all, body: octets })
  return { response, problem: (await response.json()) as Record<string, unknown> }
}

t.test('a route without a declared authorisation fails the start', async (t) => {
  const app = Fastify()
  requireAuthorisation(app, ['open', 'proof'])
  t.throws(() => app.get('/forgotten', async () => 'x'), /GET \/forgotten declares no authorisation/)
  t.throws(() => app.get('/other', { config: { auth: 'officer' } }, async () => 'x'), /declares "officer"/)
  t.doesNotThrow(() => app.get('/fine', { config: { auth: 'open' } }, async () => 'x'))
})

t.test('every failure is a problem with a stable code, and echoes nothing that was sent', async (t) => {
  const house = await openHouse(t)
  const secret = 'SECRETVALUE'
  const cases: readonly (readonly [string, string, Sent, number, string])[] = [
    ['malformed JSON', '/v1/code', { body: `{"${secret}` }, 400, 'bad-request'],
    ['not UTF-8', '/v1/code', { body: new Uint8Array([0x22, 0xff, 0x22]) }, 400, 'bad-request'],
    ['no JSON', '/v1/code', { headers: { 'content-type': 'text/plain' }, body: secret }, 400, 'bad-request'],
    [
      'an unknown field',
      '/v1/code',
      { body: JSON.stringify({ envelope: 'A'.repeat(22), address: 'a@example.org', [secret]: 1 }) },
      400,
      'bad-request',
    ],
    [
      'a wrong id',
      '/v1/code',
      { body: JSON.stringify({ envelope: secret, address: 'a@example.org' }) },
      400,
      'bad-request',
    ],
    [
      'a wrong type',
      '/v1/session',
      { body: JSON.stringify({ challenge: 'A'.repeat(22), code: 12345678 }) },
      400,
      'bad-request',
    ],
    ['a poisoned prototype', '/v1/code', { body: '{"__proto__":{"x":1}}' }, 400, 'bad-request'],
    [
      'no address',
      '/v1/code',
      { body: JSON.stringify({ envelope: 'A'.repeat(22), address: secret }) },
      400,
      'bad-request',
    ],
    ['oversize', '/v1/code', { body: JSON.stringify({ address: secret.repeat(1000) }) }, 413, 'too-large'],
    ['another body than proven', '/v1/code', { headers: { dpop: `${secret}.x.y` } }, 401, 'bad-proof'],
    ['no session', '/v1/release', {}, 401, 'no-session'],
    ['an unknown route', '/v1/nothing', {}, 404, 'not-found'],
  ]
  for (const [name, path, sent, status, code] of cases) {
    const { response, problem } = await post(house, path, sent)
    t.equal(response.status, status, name)
    t.equal(problem.code, code, name)
    t.equal(problem.type, `urn:sealpost:problem:${code}`, name)
    t.match(response.headers.get('content-type'), /^application\/problem\+json/, name)
    t.notOk(JSON.stringify(problem).includes(secret), `${name}: no echo`)
  }
})

t.test('an address that cannot be read is a problem too, and is not repeated', async (t) => {
  const house = await openHouse(t)
  for (const path of ['/m/SECRETVALUE%zz', `/assets/SECRETVALUE${'A'.repeat(200)}`, '/SECRETVALUE%']) {
    const response = await fetch(`${house.base}${path}`)
    t.equal(response.status, 404, path)
    t.match(response.headers.get('content-type'), /^application\/problem\+json/)
    const text = await response.text()
    t.match(JSON.parse(text), { code: 'not-found', status: 404 })
    t.notMatch(text, 'SECRETVALUE')
  }
})

t.test('a caller without a nonce gets one, with 401 and the challenge of RFC 9449', async (t) => {
  const house = await openHouse(t)
  const response = await fetch(`${house.base}/v1/code`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', dpop: 'x' },
    body: '{}',
  })
  t.equal(response.status, 401)
  t.match(response.headers.get('www-authenticate'), /^DPoP algs="ES256", error="invalid_dpop_proof"$/)
  const nonce = response.headers.get('dpop-nonce') ?? ''
  t.ok(nonce.length > 20)
  const proof = await createProof(await createProofKey(), {
    url: `${house.origin}/v1/code`,
    body: new Uint8Array(),
    nonce: null,
    token: null,
  })
  const second = await fetch(`${house.base}/v1/code`, { method: 'POST', headers: { dpop: proof } })
  t.match(second.headers.get('www-authenticate'), /error="use_dpop_nonce"/)
  t.equal(second.headers.get('cache-control'), 'no-store')
})

t.test('a proof for the Host header’s origin is worth nothing: only the configured one counts', async (t) => {
  const house = await openHouse(t)
  const body = new TextEncoder().encode(JSON.stringify({ envelope: 'A'.repeat(22), address: 'a@example.org' }))
  const nonce = (await fetch(`${house.base}/v1/code`, { method: 'POST' })).headers.get('dpop-nonce')
  const send = async (origin: string) => {
    const proof = await createProof(await createProofKey(), { url: `${origin}/v1/code`, body, nonce, token: null })
    const headers = { 'content-type': 'application/json', dpop: proof }
    return (await fetch(`${house.base}/v1/code`, { method: 'POST', headers, body })).status
  }
  t.equal(await send(house.base), 401)
  t.equal(await send(house.origin), 202)
})

t.test('a proof is good for one request: the second answers that it was used', async (t) => {
  const house = await openHouse(t)
  const body = new TextEncoder().encode(JSON.stringify({ envelope: 'A'.repeat(22), address: 'a@example.org' }))
  const nonce = (await fetch(`${house.base}/v1/code`, { method: 'POST' })).headers.get('dpop-nonce')
  const url = `${house.origin}/v1/code`
  const proof = await createProof(await createProofKey(), { url, body, nonce, token: null })
  const headers = { 'content-type': 'application/json', dpop: proof }
  const send = async () => (await fetch(`${house.base}/v1/code`, { method: 'POST', headers, body })).json()
  t.match(await send(), { tries: 5 })
  t.match(await send(), { code: 'replayed-proof', status: 401 })
})

t.test('requests of one network are limited before any proof is looked at', async (t) => {
  const house = await openHouse(t, { requestsPerNetworkPerMinute: 12 })
  const ask = async (ip: string) =>
    (await fetchAt(house.base, ip)(`${house.origin}/v1/code`, { method: 'POST' })).status
  const statuses = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(`203.0.113.${i}`)))
  t.equal(statuses.filter((status) => status === 401).length, 12)
  t.equal(statuses.filter((status) => status === 429).length, 8)
  t.equal(await ask('198.51.100.1'), 401, 'others go on')
})

t.test('OpenAPI describes every route of the API, and what it takes', async (t) => {
  const house = await openHouse(t)
  const document = (await (await fetch(`${house.base}/openapi.json`)).json()) as {
    paths: Record<string, { post?: { requestBody?: unknown } }>
  }
  const paths = ['/v1/code', '/v1/session', '/v1/ticket', '/v1/release', '/v1/revoke']
  for (const path of paths) t.ok(document.paths[path]?.post?.requestBody, path)
  t.same(Object.keys(document.paths).toSorted(), [...paths, '/health/live'].toSorted())
  t.same(await (await fetch(`${house.base}/health/live`)).json(), { status: 'alive' })
})

t.test('the page is the same for every link, touches no store, and comes with its policy', async (t) => {
  const house = await openHouse(t)
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-page-'))
  await mkdir(join(folder, 'assets'))
  await writeFile(join(folder, 'index.html'), '<!doctype html><title>page</title>')
  await writeFile(join(folder, 'assets', 'app.js'), 'void 0')
  await writeFile(join(folder, 'secret.txt'), 'not an asset')
  const closed = Object.fromEntries(
    ['transact', 'read'].map((name) => [name, () => Promise.reject(new Error('the store was touched'))]),
  )
  const organizations = {
    'acme.example': { url: 'https://mail.acme.example', from: 'codes@acme.example', domains: ['acme.example'] },
  }
  const parts = {
    ...house.parts,
    store: { ...house.parts.store, ...closed },
    config: { ...house.parts.config, organizations },
  }
  const app = await createPublicApp(parts as typeof house.parts, { folder })
  t.teardown(async () => {
    await app.close()
    await rm(folder, { recursive: true })
  })
  const id = 'A'.repeat(22)
  const bodies = new Set<string>()
  for (const url of ['/', '/open', '/m', '/m/', `/m/${id}`, `/m/${id}/`, '/m/garbage', `/m/${id}?utm=1`]) {
    for (const method of ['GET', 'HEAD'] as const) {
      const response = await app.inject({ method, url })
      t.equal(response.statusCode, 200, `${method} ${url}`)
      if (method === 'GET') bodies.add(response.body)
      t.match(
        response.headers['content-security-policy'],
        /default-src 'none'.*connect-src 'self' https:\/\/copies\.acme\.example/,
      )
      t.match(response.headers, {
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
      })
      t.equal(response.headers['set-cookie'], undefined)
    }
  }
  t.equal(bodies.size, 1)
  t.equal((await app.inject('/assets/app.js')).body, 'void 0')
  for (const url of [
    '/assets/../secret.txt',
    '/assets/%2e%2e/secret.txt',
    '/assets/..%2fsecret.txt',
    '/secret.txt',
    '/assets/none.js',
    '/assets/',
  ]) {
    const response = await app.inject(url)
    t.ok([400, 403, 404].includes(response.statusCode), url)
    t.match(response.headers['content-type'], /problem\+json/, url)
  }
  const own = await app.inject({ url: `/m/${id}`, headers: { host: 'mail.acme.example' } })
  t.equal(own.statusCode, 307, 'an organization’s own host leads to the one origin')
  t.equal(own.headers.location, `${house.origin}/m/${id}`)
  const longer = await app.inject({ url: `/m/${id}%3E`, headers: { host: 'mail.acme.example' } })
  t.equal(longer.headers.location, `${house.origin}/m/${id}`, 'of a link that a mail program made longer')
  const other = await app.inject({ url: `/m/${id}`, headers: { host: 'evil.example.net' } })
  t.equal(other.statusCode, 200, 'and no other host leads anywhere')
})
