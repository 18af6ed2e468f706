import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { createServer as createClearServer } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { certs } from '../../cli/certs.ts'
import { run } from '../../cli/run.ts'
import { loadTlsFiles } from '../../protocol/tls-files.ts'
import { capture } from './capture.ts'

const ID = `${'b'.repeat(21)}A`
const folder = t.testdir()
await certs(['init', '--to', folder], capture())
const at = (file: string) => join(folder, file)

const calls: { path: string | undefined; peer: string | undefined; body: unknown }[] = []
let answer = {
  status: 200,
  body: JSON.stringify({ id: ID, revokedAt: '2026-01-02T03:04:05Z', now: '2026-01-02T03:04:05Z' }),
}
const load = loadTlsFiles({ cert: at('keyserver.pem'), key: at('keyserver.key'), ca: at('ca.pem') })
if (load.kind === 'faults') throw new Error(load.faults.join())
const server = createServer(
  { ...load.files, requestCert: true, rejectUnauthorized: true },
  async (request, response) => {
    const body: unknown = JSON.parse(await text(request))
    calls.push({ path: request.url, peer: (request.socket as TLSSocket).getPeerCertificate().subjectaltname, body })
    response.writeHead(answer.status).end(answer.body)
  },
)
server.listen(0, '127.0.0.1')
await once(server, 'listening')
t.teardown(() => server.close())
const listening = server.address()
const keyserver = `https://localhost:${typeof listening === 'object' && listening !== null ? listening.port : 0}`

writeFileSync(
  at('officer.yaml'),
  `keyserver: ${keyserver}\ncert: officer-officer1.pem\nkey: officer-officer1.key\nca: ca.pem\n`,
)
const config = ['--config', at('officer.yaml')]

t.test('revoke tells the key server organization, id and reason, in the name of the officer', async (t) => {
  const io = capture()
  t.equal(await run(['revoke', 'acme.example', ID, '--reason', 'sent in error', ...config], io), 0)
  t.same(calls.pop(), {
    path: '/v1/revoke',
    peer: 'URI:sealpost:officer:officer1',
    body: { org: 'acme.example', id: ID, reason: 'sent in error' },
  })
  t.match(io.text(), `Revoked ${ID} at 2026-01-02T03:04:05Z`)
})

t.test('revoke takes the whole link in the place of the id', async (t) => {
  t.equal(
    await run(['revoke', 'acme.example', `https://open.acme.example/m/${ID}`, '--reason', 'x', ...config], capture()),
    0,
  )
  t.match(calls.pop(), { body: { id: ID } })
})

t.test('held asks for what waits page by page, and tells decisions with their reasons', async (t) => {
  const mail = {
    ...{ id: ID, org: 'acme.example', rule: 'prices', sender: 'anna@acme.example', recipients: ['bob@example.org'] },
    ...{ recipientCount: 3, size: 2048, gateway: 'gw1', heldAt: '2026-01-02T03:04:05Z', until: '2026-01-04T03:04:05Z' },
    ...{ ttlSeconds: 259_200, state: 'held', decided: null },
  }
  const usual = answer
  t.teardown(() => {
    answer = usual
  })
  answer = { status: 200, body: JSON.stringify({ held: [mail], more: false }) }
  const listed = capture()
  t.equal(await run(['held', 'list', 'acme.example', ...config], listed), 0)
  t.match(calls.pop(), { path: '/v1/held/list', body: { org: 'acme.example', skip: 0 } })
  t.match(listed.text(), new RegExp(`${ID} .* anna@acme.example to bob@example.org and 2 more  2048 octets`))

  const decided = { at: '2026-01-03T00:00:00Z', officer: 'officer1', reason: 'turned\u202e round' }
  answer = { status: 200, body: JSON.stringify({ ...mail, state: 'returned', decided }) }
  const shown = capture()
  t.equal(await run(['held', 'show', 'acme.example', ID, ...config], shown), 0)
  t.match(shown.text(), /state +sent back\n[\s\S]*opens for +3d\n[\s\S]*by officer1: turned\? round/)

  answer = { status: 200, body: JSON.stringify({ id: ID, expiresAt: '2026-02-01T00:00:00Z' }) }
  const released = capture()
  t.equal(await run(['held', 'release', 'acme.example', ID, ...config], released), 0)
  t.match(calls.pop(), { path: '/v1/held/release', body: { id: ID, reason: 'let go' } })
  t.match(released.text(), /until 2026-02-01T00:00:00Z/)
  t.equal(await run(['held', 'return', 'acme.example', ID, '--reason', 'old prices', ...config], capture()), 0)
  t.match(calls.pop(), { path: '/v1/held/return', body: { id: ID, reason: 'old prices' } })

  const before = calls.length
  for (const wrong of [
    ['held'],
    ['held', 'hold', 'acme.example'],
    ['held', 'list'],
    ['held', 'show', 'acme.example'],
    ['held', 'return', 'acme.example', ID],
    ['held', 'release', 'acme.example', ID, '--reason', 'x'.repeat(513)],
    ['held', 'list', 'acme.example', ID],
  ])
    t.equal(await run([...wrong, ...config], capture()), 2, wrong.join(' '))
  t.equal(calls.length, before, 'nothing was asked')
  answer = { status: 200, body: '{}' }
  t.equal(await run(['held', 'list', 'acme.example', ...config], capture()), 1, 'an answer that is none')
})

t.test('clock accept gives the reason to the key server', async (t) => {
  const io = capture()
  t.equal(await run(['clock', 'accept', '--reason', 'looked at two other clocks', ...config], io), 0)
  t.match(calls.pop(), { path: '/v1/clock', body: { reason: 'looked at two other clocks' } })
  t.match(io.text(), /takes 2026-01-02T03:04:05Z as the right time/)
})

t.test('a refusal is told with its code and reason, its control characters taken out, and exits with 1', async (t) => {
  const before = answer
  answer = { status: 404, body: JSON.stringify({ code: 'not-found', detail: 'no such\u001b[31m envelope' }) }
  const io = capture()
  t.equal(await run(['revoke', 'acme.example', ID, '--reason', 'x', ...config], io), 1)
  answer = before
  t.match(io.errors(), /refused \(not-found\): no such \[31m envelope$/)
})

t.test('an answer that is no JSON is told by its status', async (t) => {
  const before = answer
  answer = { status: 502, body: '<html>' }
  const io = capture()
  t.equal(await run(['revoke', 'acme.example', ID, '--reason', 'x', ...config], io), 1)
  answer = before
  t.match(io.errors(), /refused \(status 502\): no reason was given/)
})

t.test('a key server that is not there exits with 1 and says that nothing was changed', async (t) => {
  const io = capture()
  const argv = ['revoke', 'acme.example', ID, '--reason', 'x', ...config, '--keyserver', 'https://127.0.0.1:1']
  t.equal(await run(argv, io), 1)
  t.match(io.errors(), /did not answer: .*Nothing was changed/)
})

t.test('a port without TLS is told in plain words, and which one to name', async (t) => {
  const clear = createClearServer().listen(0, '127.0.0.1')
  t.teardown(() => clear.close())
  await once(clear, 'listening')
  const { port } = clear.address() as AddressInfo
  const io = capture()
  const named = ['--keyserver', `https://localhost:${port}`]
  t.equal(await run(['revoke', 'acme.example', ID, '--reason', 'x', ...config, ...named], io), 1)
  t.match(io.errors(), /does not speak TLS as expected; name the port of gatewayListener/)
  t.notMatch(io.errors(), /routines|\.c:/)
})

t.test('a key server under another authority is not spoken to', async (t) => {
  const other = t.testdir()
  await certs(['init', '--to', other], capture())
  const io = capture()
  const before = calls.length
  const argv = ['revoke', 'acme.example', ID, '--reason', 'x', ...config, '--ca', join(other, 'ca.pem')]
  t.equal(await run(argv, io), 1)
  t.equal(calls.length, before)
  t.match(io.errors(), /did not answer/)
})

t.test('faults of the file and of the certificates are all told, and exit with 78', async (t) => {
  const dir = t.testdir({
    'unknown.yaml': `keyserver: ${keyserver}\nsert: x\nport: 1\n`,
    'broken.yaml': 'a: [',
    'empty.yaml': '',
    'absent.yaml': `keyserver: ${keyserver}\ncert: no.pem\nkey: no.key\nca: no-ca.pem\n`,
  })
  for (const [file, ...faults] of [
    ['unknown.yaml', /sert does not belong here/, /port does not belong here/],
    ['broken.yaml', /broken\.yaml: /],
    ['empty.yaml', /says nothing/],
    ['missing.yaml', /missing\.yaml: .*no such file/],
    [
      'absent.yaml',
      /no\.pem: the certificate is missing/,
      /no\.key: the private key is missing/,
      /no-ca\.pem: .* missing/,
    ],
  ] as const) {
    const io = capture()
    t.equal(await run(['clock', 'accept', '--reason', 'x', '--config', join(dir, file)], io), 78, file)
    for (const fault of faults) t.match(io.errors(), fault)
  }
})

t.test('an officer key that others can read is refused before a word is sent', async (t) => {
  chmodSync(at('officer-officer1.key'), 0o644)
  const io = capture()
  const before = calls.length
  t.equal(await run(['clock', 'accept', '--reason', 'x', ...config], io), 78)
  chmodSync(at('officer-officer1.key'), 0o600)
  t.match(io.errors(), /chmod 600/)
  t.equal(calls.length, before)
})

t.test('a key server without TLS is refused as a wrong command line', async (t) => {
  const argv = ['clock', 'accept', '--reason', 'x', ...config, '--keyserver', 'http://localhost:1']
  t.equal(await run(argv, capture()), 2)
})
