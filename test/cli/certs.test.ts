import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket } from 'node:tls'
import t from 'tap'
import { parse } from 'yaml'
import { certs } from '../../cli/certs.ts'
import { loadTlsFiles, type TlsFiles } from '../../protocol/tls-files.ts'
import { capture } from './capture.ts'

const now = new Date()
const DAY = 86_400_000

async function made(folder: string, ...argv: string[]): Promise<string> {
  const io = capture()
  if ((await certs(['init', '--to', folder, ...argv], io, now)) !== 0) throw new Error(io.text())
  return io.text()
}

function pair(folder: string, stem: string): TlsFiles & { ca: string } {
  const at = (file: string) => join(folder, file)
  const load = loadTlsFiles({ cert: at(`${stem}.pem`), key: at(`${stem}.key`), ca: at('ca.pem') }, now)
  if (load.kind === 'faults') throw new Error(load.faults.join())
  return { ...load.files, ca: readFileSync(at('ca.pem'), 'utf8') }
}

t.test('init makes an authority, two servers, a gateway and an officer, and says what each file is for', async (t) => {
  const folder = join(t.testdir(), 'certs')
  const said = await made(folder)
  const stems = ['ca', 'gateway', 'gateway-gw1', 'keyserver', 'officer-officer1']
  t.same(readdirSync(folder).sort(), stems.flatMap((stem) => [`${stem}.key`, `${stem}.pem`]).sort())
  for (const stem of stems) {
    t.match(said, join(folder, `${stem}.pem`))
    t.equal(statSync(join(folder, `${stem}.key`)).mode & 0o777, 0o600, `${stem}.key`)
    t.equal(pair(folder, stem).ca, readFileSync(join(folder, 'ca.pem'), 'utf8'))
  }
})

t.test('the documented first command makes certificates with which the samples run', async (t) => {
  const root = new URL('../../', import.meta.url)
  const sample = parse(readFileSync(new URL('gateway/gateway.sample.yaml', root), 'utf8'))
  for (const page of ['docs/operations.md', 'certs/README.md']) {
    const command = /^npx sealpost certs init --name (\S+)/m.exec(readFileSync(new URL(page, root), 'utf8'))
    const folder = join(t.testdir(), 'certs')
    await made(folder, '--name', command?.[1] ?? '')
    const names = (stem: string) => new X509Certificate(readFileSync(join(folder, `${stem}.pem`)))
    t.ok(names('keyserver').checkHost(new URL(sample.keyServer.url).hostname), `${page}: where the gateway calls it`)
    t.ok(names('gateway').checkHost(sample.name), `${page}: how the gateway calls itself`)
  }
})

t.test(
  'a client certificate carries the URI by which the key server knows it, a server certificate its names',
  async (t) => {
    const folder = t.testdir()
    await made(folder, '--name', 'keys.acme.example,192.0.2.7,2001:db8::7', '--gateway', 'berlin', '--officer', 'duty')
    const names = (stem: string) => new X509Certificate(readFileSync(join(folder, `${stem}.pem`))).subjectAltName
    t.equal(names('gateway-berlin'), 'URI:sealpost:gateway:berlin')
    t.equal(names('officer-duty'), 'URI:sealpost:officer:duty')
    t.equal(names('keyserver'), 'DNS:keys.acme.example, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7')
  },
)

t.test(
  'end certificates last a year, the authority ten, and both hold on a clock that is two minutes behind',
  async (t) => {
    const folder = t.testdir()
    await made(folder)
    const days = (stem: string) => {
      const certificate = new X509Certificate(readFileSync(join(folder, `${stem}.pem`)))
      t.ok(new Date(certificate.validFrom).getTime() < now.getTime() - 120_000)
      return Math.round((new Date(certificate.validTo).getTime() - now.getTime()) / DAY)
    }
    t.equal(days('keyserver'), 365)
    t.equal(days('ca'), 3653)
  },
)

t.test('a second init overwrites nothing and says how to renew', async (t) => {
  const folder = t.testdir()
  await made(folder)
  const before = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8'))
  await t.rejects(certs(['init', '--to', folder], capture(), now), { message: /already holds .*certs init --renew/ })
  t.same(
    readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8')),
    before,
  )
})

t.test(
  '--renew makes the end certificates again, with new keys and the same names, under the same authority',
  async (t) => {
    const folder = t.testdir()
    await made(folder, '--name', 'keys.acme.example', '--gateway', 'berlin')
    const old = {
      ca: pair(folder, 'ca').cert,
      gateway: pair(folder, 'gateway-berlin'),
      server: pair(folder, 'keyserver'),
    }
    const later = new Date(now.getTime() + 300 * DAY)
    t.equal(await certs(['init', '--renew', '--to', folder], capture(), later), 0)
    const fresh = new X509Certificate(readFileSync(join(folder, 'gateway-berlin.pem')))
    t.equal(fresh.subjectAltName, 'URI:sealpost:gateway:berlin')
    t.equal(new X509Certificate(readFileSync(join(folder, 'keyserver.pem'))).subjectAltName, 'DNS:keys.acme.example')
    t.not(readFileSync(join(folder, 'gateway-berlin.key'), 'utf8'), old.gateway.key)
    t.equal(readFileSync(join(folder, 'ca.pem'), 'utf8'), old.ca)
    t.ok(fresh.verify(new X509Certificate(old.ca).publicKey))
    t.equal(Math.round((new Date(fresh.validTo).getTime() - later.getTime()) / DAY), 365)
  },
)

t.test('--renew leaves a certificate of another authority alone', async (t) => {
  const folder = t.testdir({ other: {}, mine: {} })
  await made(join(folder, 'other'))
  await made(join(folder, 'mine'))
  const { cert, key } = pair(join(folder, 'other'), 'keyserver')
  writeFileSync(join(folder, 'mine', 'keyserver.pem'), cert)
  writeFileSync(join(folder, 'mine', 'keyserver.key'), key)
  writeFileSync(join(folder, 'mine', 'note.pem'), 'not a certificate')
  t.equal(await certs(['init', '--renew', '--to', join(folder, 'mine')], capture(), now), 0)
  t.equal(readFileSync(join(folder, 'mine', 'keyserver.pem'), 'utf8'), cert)
  t.equal(readFileSync(join(folder, 'mine', 'note.pem'), 'utf8'), 'not a certificate')
})

t.test(
  'add makes one more gateway under the authority that is there, and never a second of the same name',
  async (t) => {
    const folder = t.testdir()
    await made(folder)
    t.equal(await certs(['add', '--to', folder, '--gateway', 'gw2'], capture(), now), 0)
    t.ok(existsSync(join(folder, 'gateway-gw2.key')))
    await t.rejects(certs(['add', '--to', folder, '--gateway', 'gw2'], capture(), now), { message: /already holds/ })
  },
)

t.test('without an authority, add and --renew name the files that are missing', async (t) => {
  const folder = t.testdir()
  for (const argv of [
    ['add', '--gateway', 'gw2'],
    ['init', '--renew'],
  ]) {
    await t.rejects(certs([...argv, '--to', folder], capture(), now), {
      message: /ca\.pem: the certificate is missing/,
      exit: 78,
    })
  }
})

t.test('an authority key that others can read is not used', async (t) => {
  const folder = t.testdir()
  await made(folder)
  chmodSync(join(folder, 'ca.key'), 0o644)
  await t.rejects(certs(['add', '--to', folder, '--gateway', 'gw2'], capture(), now), { message: /chmod 600/ })
})

for (const [what, argv] of [
  ['a name with a slash', ['--gateway', '../x']],
  ['an empty gateway name', ['--gateway', '']],
  ['a host name with a space', ['--name', 'a b']],
  ['an empty host name in the list', ['--name', 'localhost,']],
  ['an unknown option', ['--force']],
] as const) {
  t.test(`${what} is refused before anything is written`, async (t) => {
    const folder = join(t.testdir(), 'certs')
    await t.rejects(certs(['init', '--to', folder, ...argv], capture(), now))
    t.notOk(existsSync(folder))
  })
}

t.test('gateway and key server meet over mutual TLS with these files, and a stranger is turned away', async (t) => {
  const folder = t.testdir({ ours: {}, theirs: {} })
  await made(join(folder, 'ours'))
  await made(join(folder, 'theirs'))
  const listener = createServer({
    ...pair(join(folder, 'ours'), 'keyserver'),
    requestCert: true,
    rejectUnauthorized: true,
  })
  listener.on('tlsClientError', () => undefined)
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => listener.close())
  const address = listener.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const { ca } = pair(join(folder, 'ours'), 'keyserver')

  const accepted = once(listener, 'secureConnection')
  const ours = pair(join(folder, 'ours'), 'gateway-gw1')
  const client = connect({ host: '127.0.0.1', port, servername: 'localhost', cert: ours.cert, key: ours.key, ca })
  await once(client, 'secureConnect')
  const [socket]: TLSSocket[] = await accepted
  t.equal(socket?.getPeerCertificate().subjectaltname, 'URI:sealpost:gateway:gw1')
  client.destroy()

  const theirs = pair(join(folder, 'theirs'), 'gateway-gw1')
  const stranger = connect({ host: '127.0.0.1', port, servername: 'localhost', cert: theirs.cert, key: theirs.key, ca })
  stranger.on('error', () => undefined)
  let greeted = 0
  listener.on('secureConnection', () => (greeted += 1))
  stranger.resume()
  await once(stranger, 'close')
  t.equal(greeted, 0)
})
