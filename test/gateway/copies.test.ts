import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CompactSign } from 'jose'
import t, { type Test } from 'tap'
import { type Copies, createFolderCopies } from '../../gateway/copies.ts'
import { type CopiesHttpParts, createCopiesServer } from '../../gateway/copies-http.ts'
import { createRoom } from '../../gateway/room.ts'
import { createSealing, inMemory } from '../../gateway/sealing.ts'
import { createSigningKeyRing } from '../../gateway/signing-keys.ts'
import type { EnvelopeId } from '../../protocol/identifiers.ts'
import { acme, copyOf, envelopeId } from './sealed-mail.ts'

const otherId = Buffer.alloc(16, 7).toString('base64url') as EnvelopeId

async function gather(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const chunk of chunks) pieces.push(Buffer.from(chunk))
  return Buffer.concat(pieces)
}

t.test('a copy is kept, found, replaced and removed', async (t) => {
  const copies = await createFolderCopies(t.testdir())
  t.equal(await copies.get(envelopeId), null)
  t.equal(await copies.has(envelopeId), false)
  t.equal(await copies.delete(envelopeId), false)
  t.equal(await copies.settle(envelopeId), false, 'there is nothing to be made durable')
  for (const durable of [false, true]) {
    const copy = copyOf(5000)
    await copies.put(envelopeId, copy, { durable })
    const stored = await copies.get(envelopeId)
    t.equal(stored?.size, 5000)
    t.ok(stored && (await gather(stored.chunks())).equals(copy.bytes ?? Buffer.alloc(0)))
  }
  t.equal(await copies.has(envelopeId), true)
  t.equal(await copies.settle(envelopeId), true)
  t.equal(await copies.delete(envelopeId), true)
  t.equal(await copies.has(envelopeId), false)
})

t.test('small copies outlive the process, and none is left when it was removed', async (t) => {
  const folder = t.testdir()
  const first = await createFolderCopies(folder)
  const ids = Array.from({ length: 30 }, () => randomBytes(16).toString('base64url') as EnvelopeId)
  const octets = new Map(ids.map((id) => [id, copyOf(2000).bytes ?? new Uint8Array()]))
  await Promise.all(ids.map((id) => first.put(id, inMemory(octets.get(id) ?? new Uint8Array(), 0), { durable: false })))
  // As after a kill: nothing is closed.
  const second = await createFolderCopies(folder)
  for (const id of ids) {
    const stored = await second.get(id)
    t.ok(stored && (await gather(stored.chunks())).equals(octets.get(id) ?? new Uint8Array()))
    t.equal(await second.delete(id), true)
    t.equal(await second.get(id), null)
  }
  first.close()
  second.close()
  const left = readFileSync(join(folder, 'small.sqlite'))
  for (const one of octets.values()) t.notOk(left.includes(Buffer.from(one.subarray(500, 564))))
  t.equal(statSync(join(folder, 'small.sqlite')).mode & 0o777, 0o600)
})

t.test('a copy that grows or must be durable takes the place of a small one, and the other way round', async (t) => {
  const copies = await createFolderCopies(t.testdir())
  for (const [size, durable] of [
    [2000, false],
    [300_000, false],
    [3000, false],
    [4000, true],
    [5000, false],
  ] as const) {
    await copies.put(envelopeId, copyOf(size), { durable })
    const stored = await copies.get(envelopeId)
    t.equal(stored?.size, size)
    await stored?.close()
  }
  t.equal(await copies.delete(envelopeId), true)
  t.equal(await copies.has(envelopeId), false)
})

t.test('a copy that is settled is the same, and lies in a file that is there for good', async (t) => {
  const folder = t.testdir()
  const copies = await createFolderCopies(folder)
  for (const size of [2000, 300_000]) {
    const copy = copyOf(size)
    await copies.put(envelopeId, copy, { durable: false })
    t.equal(await copies.settle(envelopeId), true)
    const stored = await copies.get(envelopeId)
    t.ok(stored && (await gather(stored.chunks())).equals(copy.bytes ?? Buffer.alloc(0)))
    t.equal(statSync(join(folder, envelopeId.slice(0, 1), envelopeId)).size, size)
  }
})

t.test('a damaged database of small copies is named, with what to do', async (t) => {
  const folder = t.testdir({ 'small.sqlite': 'this is no database, and long enough to look like one'.repeat(20) })
  await t.rejects(createFolderCopies(folder), { message: /small\.sqlite cannot be opened .* move it away/ })
})

t.test('names that are no envelope ids never become paths', async (t) => {
  const copies = await createFolderCopies(t.testdir())
  for (const name of ['../../../../etc/passwd', '..', 'a/b', '', `${envelopeId}x`]) {
    await t.rejects(copies.put(name as EnvelopeId, copyOf(100), { durable: false }))
    await t.rejects(copies.get(name as EnvelopeId))
    await t.rejects(copies.settle(name as EnvelopeId))
    await t.rejects(copies.delete(name as EnvelopeId))
  }
})

t.test('a failed put leaves nothing behind', async (t) => {
  const folder = t.testdir()
  const copies = await createFolderCopies(folder)
  const gone = { ...copyOf(10), bytes: null, path: join(folder, 'gone') }
  await t.rejects(copies.put(envelopeId, gone, { durable: false }))
  t.same(readdirSync(join(folder, 'drafts')), [])
  t.equal(await copies.has(envelopeId), false)
})

const key = {
  org: acme,
  id: envelopeId,
  dataKey: randomBytes(32),
  wrappedKey: randomBytes(60),
  termsHash: createHash('sha256').update('x').digest('base64url'),
}

function plainOf(size: number, broken = false) {
  return {
    plainSize: size,
    async *plaintext() {
      for (let at = 0; at < size; at += 100_000) {
        if (broken && at > size / 2) throw new Error('the scratch file was altered')
        yield Buffer.alloc(Math.min(100_000, size - at), 'a')
      }
    },
  }
}

t.test('a small message is sealed in memory, a large one into a file that is linked into the store', async (t) => {
  const root = t.testdir({ sealing: {} })
  const sealing = await createSealing({ folder: join(root, 'sealing'), room: createRoom(0) })
  const copies = await createFolderCopies(join(root, 'copies'))
  for (const size of [0, 10_000, 1024 * 1024, 3_000_000]) {
    const sealed = await sealing.seal(plainOf(size), key)
    const octets = await gather(sealed.chunks())
    t.equal(sealed.bytes === null, size > 1024 * 1024)
    t.match(sealed, { sealedSize: octets.length, plainSize: size })
    t.equal(sealed.digest, createHash('sha256').update(octets).digest('base64url'))
    t.notOk(octets.includes('aaaaaaaaaaaaaaaa'))
    await copies.put(envelopeId, sealed, { durable: true })
    t.ok((await gather(sealed.chunks())).equals(octets), 'can be read again')
    await sealed.dispose()
    const stored = await copies.get(envelopeId)
    t.ok(stored && (await gather(stored.chunks())).equals(octets))
  }
  t.same(readdirSync(join(root, 'sealing')), [])
})

t.test('a sealing that fails leaves no file, and says what failed', async (t) => {
  const folder = t.testdir()
  const sealing = await createSealing({ folder, room: createRoom(0) })
  await t.rejects(sealing.seal(plainOf(4_000_000, true), key), { message: 'the scratch file was altered' })
  t.same(readdirSync(folder), [])
})

t.test('a message is deflated only where its mail would else be too large for the next hop', async (t) => {
  const sealing = await createSealing({ folder: t.testdir(), room: createRoom(0), carryLimit: 500_000 })
  const small = await sealing.seal(plainOf(200_000), key)
  const large = await sealing.seal(plainOf(400_000), key)
  const hopeless = await sealing.seal(plainOf(600_000), key)
  t.ok(small.sealedSize > 200_000)
  t.ok(large.sealedSize < 200_000)
  t.ok(hopeless.sealedSize > 600_000)
})

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const now = () => Math.floor(Date.now() / 1000)

function ticketFor(claims: object, header: object = {}, signer: KeyObject = privateKey): Promise<string> {
  return new CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader({ alg: 'EdDSA', kid: 'k1', ...header })
    .sign(signer)
}

async function startServer(t: Test, extra: Partial<CopiesHttpParts> = {}) {
  const copies = extra.copies ?? (await createFolderCopies(t.testdir()))
  const failures: unknown[] = []
  const server = createCopiesServer({
    copies,
    findKey: async (kid) => (kid === 'k1' ? publicKey : null),
    origins: ['https://mail.acme.example'],
    limit: 50,
    now: () => new Date(),
    onFailure: (_, error) => failures.push(error),
    ...extra,
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const get = (path: string, ticket: string, init: RequestInit = {}) =>
    fetch(base + path, { ...init, headers: { authorization: `Bearer ${ticket}`, ...init.headers } })
  return { copies, get, base, failures }
}

t.test('the sealed copy is given for a ticket, in full', async (t) => {
  const { copies, get } = await startServer(t)
  for (const size of [5000, 3_000_000]) {
    const octets = randomBytes(size)
    await copies.put(envelopeId, inMemory(octets, size), { durable: false })
    const response = await get(`/e/${envelopeId}`, await ticketFor({ env: envelopeId, exp: now() + 60 }))
    t.equal(response.status, 200)
    t.match(Object.fromEntries(response.headers), {
      'content-length': String(size),
      'content-type': 'application/vnd.sealpost',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    t.ok(Buffer.from(await response.arrayBuffer()).equals(octets))
  }
  const head = await get(`/e/${envelopeId}`, await ticketFor({ env: envelopeId, exp: now() + 60 }), { method: 'HEAD' })
  t.same([head.status, head.headers.get('content-length'), await head.text()], [200, '3000000', ''])
})

t.test('without a good ticket the answer is one and the same, whether or not there is a copy', async (t) => {
  const { copies, get } = await startServer(t)
  await copies.put(envelopeId, copyOf(500), { durable: false })
  const stranger = generateKeyPairSync('ed25519').privateKey
  const good = { env: envelopeId, exp: now() + 60 }
  const signed = await ticketFor(good)
  const none = `${Buffer.from('{"alg":"none","kid":"k1"}').toString('base64url')}.${signed.split('.')[1]}.`
  const tickets: [string, string][] = [
    ['none', ''],
    ['garbage', 'a.b.c'],
    ['expired', await ticketFor({ ...good, exp: now() - 40 })],
    ['for another envelope', await ticketFor({ ...good, env: otherId })],
    ['good for too long', await ticketFor({ ...good, exp: now() + 3600 })],
    ['without an end', await ticketFor({ env: envelopeId })],
    ['of an unknown key', await ticketFor(good, { kid: 'k2' })],
    ['signed by another', await ticketFor(good, {}, stranger)],
    ['unsigned', none],
    ['cut', signed.slice(0, -2)],
    ['altered', signed.replace(/\.(.)/, (_, c) => `.${c === 'e' ? 'f' : 'e'}`)],
    ['too long', 'a'.repeat(5000)],
  ]
  const bodies = new Set<string>()
  for (const [what, ticket] of tickets) {
    const response = await get(`/e/${envelopeId}`, ticket)
    t.equal(response.status, 401, what)
    bodies.add(await response.text())
  }
  const missing = await get(`/e/${otherId}`, signed)
  t.equal(missing.status, 401)
  bodies.add(await missing.text())
  t.equal(bodies.size, 1)
  t.match(JSON.parse([...bodies][0] ?? ''), {
    code: 'no-session',
    status: 401,
    type: 'urn:sealpost:problem:no-session',
  })
})

t.test('what is not there is 404 for a good ticket, and every other path is 404 for all', async (t) => {
  const { get, base } = await startServer(t)
  const response = await get(`/e/${envelopeId}`, await ticketFor({ env: envelopeId, exp: now() + 60 }))
  t.equal(response.status, 404)
  t.equal(response.headers.get('content-type'), 'application/problem+json')
  t.match(await response.json(), { code: 'not-found' })
  for (const path of ['/', '/e/', '/e/..%2f..%2fetc%2fpasswd', `/e/${envelopeId}/x`, '/e/AAAA']) {
    t.equal((await fetch(base + path)).status, 404, path)
  }
  t.equal((await fetch(`${base}/e/${envelopeId}`, { method: 'POST', body: 'x' })).status, 405)
})

t.test('only the page of the reader may read an answer', async (t) => {
  const { base } = await startServer(t)
  const ask = (origin: string, method: string) => fetch(`${base}/e/${envelopeId}`, { method, headers: { origin } })
  const preflight = await ask('https://mail.acme.example', 'OPTIONS')
  t.match(Object.fromEntries(preflight.headers), {
    'access-control-allow-origin': 'https://mail.acme.example',
    'access-control-allow-headers': 'Authorization',
    'access-control-allow-methods': 'GET, HEAD',
    vary: 'Origin',
  })
  t.equal(preflight.status, 204)
  t.equal(
    (await ask('https://mail.acme.example', 'GET')).headers.get('access-control-allow-origin'),
    'https://mail.acme.example',
  )
  for (const method of ['OPTIONS', 'GET']) {
    t.equal((await ask('https://evil.example', method)).headers.get('access-control-allow-origin'), null)
  }
})

t.test('where the keys cannot be had, or too much is asked, the answer is 503 and comes again', async (t) => {
  const { get, failures } = await startServer(t, { findKey: () => Promise.reject(new Error('key server down')) })
  const response = await get(`/e/${envelopeId}`, await ticketFor({ env: envelopeId, exp: now() + 60 }))
  t.equal(response.status, 503)
  t.equal(response.headers.get('retry-after'), '2')
  t.notMatch(await response.text(), /key server down/)
  t.equal(failures.length, 1)
  const busy = await startServer(t, { limit: 0 })
  t.equal((await busy.get(`/e/${envelopeId}`, '')).status, 503)
})

t.test('a reader that goes away before the copy is open leaves no file open, and is no failure', async (t) => {
  const folder = await createFolderCopies(t.testdir())
  await folder.put(envelopeId, copyOf(300_000), { durable: true })
  const closed: EnvelopeId[] = []
  const gone = Promise.withResolvers<void>()
  const slow: Copies = {
    ...folder,
    async get(id) {
      const copy = await folder.get(id)
      await gone.promise
      return copy === null ? null : { ...copy, close: () => copy.close().then(() => void closed.push(id)) }
    },
  }
  const { base, failures } = await startServer(t, { copies: slow })
  const socket = connect(Number(new URL(base).port), '127.0.0.1')
  const ticket = await ticketFor({ env: envelopeId, exp: now() + 60 })
  socket.write(`GET /e/${envelopeId} HTTP/1.1\r\nHost: copies\r\nAuthorization: Bearer ${ticket}\r\n\r\n`)
  await sleep(100)
  socket.resetAndDestroy()
  await sleep(100)
  gone.resolve()
  await sleep(100)
  t.same(closed, [envelopeId])
  t.same(failures, [])
})

t.test(
  'signing keys are asked for once, again for an unknown id, and serve while the key server is away',
  async (t) => {
    const { x } = publicKey.export({ format: 'jwk' })
    let asked = 0
    let down = false
    let time = 0
    const fetchKeys = async () => {
      asked++
      if (down) throw new Error('down')
      return { keys: [{ kty: 'OKP' as const, crv: 'Ed25519' as const, kid: 'k1', x: x ?? '' }] }
    }
    const ring = createSigningKeyRing(fetchKeys, () => time)
    t.ok((await Promise.all([ring.find('k1'), ring.find('k1')])).every((found) => found?.equals(publicKey)))
    t.equal(asked, 1)
    t.equal(await ring.find('k2'), null)
    t.equal(asked, 1, 'no flood of unknown ids reaches the key server')
    time += 6_000
    t.equal(await ring.find('k2'), null)
    t.equal(asked, 2)
    down = true
    time += 700_000
    t.ok(await ring.find('k1'))
    time += 6_000
    await t.rejects(ring.find('k3'))
  },
)

t.test('what a killed process left is swept away', async (t) => {
  const folder = t.testdir({ drafts: { old: 'x', fresh: 'y' } })
  const { utimesSync } = await import('node:fs')
  utimesSync(join(folder, 'drafts', 'old'), 1, 1)
  await createFolderCopies(folder)
  t.same(readdirSync(join(folder, 'drafts')), ['fresh'])
  writeFileSync(join(folder, 'x.sealing'), 'x')
  utimesSync(join(folder, 'x.sealing'), 1, 1)
  await createSealing({ folder, room: createRoom(0) })
  t.notOk(readdirSync(folder).includes('x.sealing'))
  t.equal(readFileSync(join(folder, 'drafts', 'fresh'), 'utf8'), 'y')
})
