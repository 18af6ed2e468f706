import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { certificateFindings } from '../../cli/doctor-certificates.ts'
import { type Config, loadConfig } from '../../gateway/config.ts'
import { organizationOf } from '../../gateway/config-organization.ts'
import type { Reading } from '../../gateway/config-reading.ts'
import type { ConfigFile } from '../../gateway/config-schema.ts'
import { createSmtpCourier } from '../../gateway/courier-smtp.ts'
import type { OwnCertificate, TlsPolicy } from '../../gateway/tls-policy.ts'
import { postfixAbsent, startPostfix } from '../scenarios/postfix.ts'
import { makeCertificate } from './certificate.ts'
import { type Maker, makeAuthority, makeClient } from './client-certificates.ts'
import { openOffice } from './office.ts'

t.setTimeout(60_000)

const authority = await makeAuthority('authority of the gateway')
const own = await makeClient(authority, 'gateway', [{ type: 'dns', value: 'gateway.acme.example' }])
const hop = await makeCertificate('hop.example')
const verify = { mode: 'verify', name: 'hop.example', ca: [hop.ca] } as const
const text = Buffer.from('Subject: hello\r\n\r\nline\r\n')
const delivery = {
  sender: 'anna@acme.example',
  recipients: ['bo@example.org'],
  mail: {
    ...{ size: text.length, smtputf8: false, eightBit: false },
    async *open() {
      yield text
    },
  },
}

async function deliver(t: Test, port: number, tls: TlsPolicy, implicitTls = false) {
  const courier = createSmtpCourier({ host: '127.0.0.1', port, helo: 'gw.acme.example', tls, implicitTls })
  t.teardown(() => courier.close())
  return (await courier.deliver(delivery)).results[0]
}

/** A next hop with TLS from the first octet that demands a certificate of one authority, and notes whose it was. */
async function startDemanding(t: Test, ca: Maker) {
  const names: string[] = []
  const options = { key: hop.key, cert: hop.cert, ca: ca.pem, requestCert: true, rejectUnauthorized: true }
  const server: Server = createServer(options, (socket: TLSSocket) => {
    names.push(String(socket.getPeerX509Certificate()?.subjectAltName))
    socket.on('error', () => socket.destroy())
    socket.write('220 hop.example ESMTP\r\n')
    socket.on('data', (octets) => {
      const said = octets.toString('latin1')
      if (said.startsWith('DATA')) socket.write('354 go on\r\n')
      else if (said.endsWith('.\r\n')) socket.write('250 2.0.0 queued\r\n')
      else for (const _ of said.matchAll(/\r\n/g)) socket.write('250 2.1.0 ok\r\n')
    })
  })
  server.on('tlsClientError', () => names.push('none'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, names }
}

t.test(
  'a next hop that demands a certificate gets the one that is configured, under every policy with TLS',
  async (t) => {
    const { port, names } = await startDemanding(t, authority)
    const policies: TlsPolicy[] = [
      { ...verify, own },
      { mode: 'pin', spki: [hop.pin], own },
      { mode: 'opportunistic', own },
    ]
    for (const policy of policies) t.match(await deliver(t, port, policy, true), { outcome: 'sent' }, policy.mode)
    t.same(new Set(names), new Set(['DNS:gateway.acme.example']))
  },
)

t.test('without a certificate, or with one of another authority, such a next hop gets no mail', async (t) => {
  const { port } = await startDemanding(t, authority)
  t.match(await deliver(t, port, verify, true), { outcome: 'deferred', code: 421 })
  const other: OwnCertificate = await makeClient(await makeAuthority('another'), 'gateway', [])
  t.match(await deliver(t, port, { ...verify, own: other }, true), { outcome: 'deferred', code: 421 })
})

t.test(
  'Postfix with smtpd_tls_req_ccert takes mail from who shows one, and from nobody else',
  { skip: postfixAbsent() },
  async (t) => {
    const ca = join(t.testdir({ 'ca.pem': authority.pem }), 'ca.pem')
    const extra = { smtpd_tls_req_ccert: 'yes', smtpd_tls_CAfile: ca, smtpd_tls_security_level: 'encrypt' }
    const postfix = await startPostfix({ tls: hop, extra })
    t.teardown(() => postfix.stop())
    t.match(await deliver(t, postfix.port, { ...verify, own }), { outcome: 'sent' })
    t.match(await deliver(t, postfix.port, verify), { outcome: 'deferred' })
    t.equal((await postfix.waitFor(1)).length, 1)
  },
)

type Tls = NonNullable<Exclude<ConfigFile['organizations'][string]['nextHop'], 'mx'>['tls']>
const expired = await makeClient(authority, 'gateway', [], -1)
const folder = t.testdir({
  'own.pem': own.cert,
  'own.key': own.key,
  'other.key': expired.key,
  'old.pem': expired.cert,
  'open.key': own.key,
})
for (const name of ['own.key', 'other.key']) chmodSync(join(folder, name), 0o600)
chmodSync(join(folder, 'open.key'), 0o644)

function read(tls: Tls) {
  const faults: string[] = []
  const file = { name: 'gw1.acme.example' } as ConfigFile
  const reading: Reading = { file, at: (name) => join(folder, name), faults, now: new Date() }
  const nextHop = { host: 'hop.example', port: 25, tls }
  return { org: organizationOf(reading, 'acme.example', { name: 'Acme', nextHop }), faults: faults.join('\n') }
}

t.test('a pair that is half, expired, mismatched, open to others or of no use is refused', async (t) => {
  const pair = { mode: 'verify', certificate: 'own.pem', key: 'own.key' } as const
  t.match(read(pair), { org: { nextHop: { tls: { mode: 'verify', own } } }, faults: '' })
  const cases: readonly [Tls, RegExp][] = [
    [{ mode: 'verify', certificate: 'own.pem' }, /nextHop > tls: certificate and key go together/],
    [{ mode: 'verify', key: 'own.key' }, /nextHop > tls: certificate and key go together/],
    [{ ...pair, certificate: 'old.pem', key: 'other.key' }, /nextHop > tls: .*expired on/],
    [{ ...pair, key: 'other.key' }, /does not belong to the certificate/],
    [{ ...pair, key: 'open.key' }, /open\.key/],
    [{ ...pair, key: 'none.key' }, /none\.key/],
    [{ ...pair, mode: 'none' }, /with mode none there is no TLS to show a certificate in/],
  ]
  for (const [tls, pattern] of cases) t.match(read(tls).faults, pattern, String(pattern))
})

t.test('a renewed certificate is shown from the next mail on, without a restart', async (t) => {
  const { port, names } = await startDemanding(t, authority)
  const place = mkdtempSync(join(tmpdir(), 'sealpost-own-'))
  t.teardown(() => rmSync(place, { recursive: true }))
  const put = (pair: OwnCertificate) => {
    writeFileSync(join(place, 'own.pem'), pair.cert)
    writeFileSync(join(place, 'own.key'), pair.key, { mode: 0o600 })
  }
  put(own)
  writeFileSync(join(place, 'ca.pem'), hop.ca)
  const files = { certificate: join(place, 'own.pem'), key: join(place, 'own.key') }
  const tls = { mode: 'verify', name: 'hop.example', ca: join(place, 'ca.pem'), ...files }
  const nextHop = { host: '127.0.0.1', port, implicitTls: true, tls }
  const office = await openOffice(t, {}, { gateway: { organizations: { 'acme.example': { name: 'Acme', nextHop } } } })
  const send = (id: string) => {
    const text = `From: anna@acme.example\nTo: bo@example.org\nSubject: x\nMessage-ID: <${id}@acme.example>\n\nhello\n`
    return office.send('anna@acme.example', ['bo@example.org'], text)
  }
  t.match(await send('one'), /^250 /)
  put(await makeClient(authority, 'gateway', [{ type: 'dns', value: 'renewed.acme.example' }]))
  const config = loadConfig(office.configFile)
  for (const file of Object.values(files)) t.ok(config.files.includes(file), 'the file is watched')
  await office.gateway.reload(config)
  t.match(await send('two'), /^250 /)
  t.same(names, ['DNS:gateway.acme.example', 'DNS:renewed.acme.example'])
})

t.test('the doctor says how many days it has left, and whether it is for clients at all', async (t) => {
  const serverOnly = await makeClient(authority, 'gateway', [], 90, 'serverAuth')
  const found = (cert: string) => {
    const nextHop = {
      kind: 'relay',
      host: 'hop.example',
      port: 25,
      helo: 'gw',
      tls: { ...verify, own: { cert, key: '' } },
    }
    const keyServer = { certificate: own.cert, ca: authority.pem, url: 'https://keys.acme.example' }
    const config = {
      listeners: [],
      organizations: [{ id: 'acme.example', nextHop, api: null }],
      keyServer,
    } as unknown as Config
    return certificateFindings(config, null, new Date()).filter((one) => one.found.startsWith('acme.example towards'))
  }
  t.match(found(own.cert)[0], {
    level: 'look',
    found: /acme\.example towards its next hop: valid until .*, 0 days more/,
  })
  t.notMatch(found(own.cert), [{ found: /client authentication/ }])
  const [life, , purpose] = found(serverOnly.cert)
  t.match(life, { level: 'ok', found: /(?:89|90) days more/ })
  t.match(purpose, { level: 'look', found: /does not name client authentication/ })
})
