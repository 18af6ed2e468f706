import { readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { certs } from '../../cli/certs.ts'
import { dkim } from '../../cli/dkim.ts'
import { doctor } from '../../cli/doctor.ts'
import { diskFindings } from '../../cli/doctor-disk.ts'
import type { Finding } from '../../cli/doctor-finding.ts'
import { heldFindings } from '../../cli/doctor-held.ts'
import { type Names, NoAnswer } from '../../cli/doctor-resolver.ts'
import { spoolFindings } from '../../cli/doctor-spool.ts'
import { run } from '../../cli/run.ts'
import type { Config } from '../../gateway/config.ts'
import { dkimRecord } from '../../gateway/dkim-key.ts'
import { makeApplicationCertificate } from '../gateway/application-certificate.ts'
import { openScene } from '../scenarios/house.ts'
import { startSink } from '../scenarios/sink.ts'
import { capture } from './capture.ts'
import { startDnsServer, type Zone } from './dns-server.ts'

/** DNS as the tests want it. */
function namesOf(zone: Zone): Names {
  return {
    mx: async (domain) => (zone[`${domain} MX`] ?? []).map((record) => record.replace(/^\d+ /, '')),
    txt: async (name) => zone[`${name} TXT`] ?? [],
  }
}

const good: Zone = {
  'acme.example MX': ['10 mx.acme.example'],
  'acme.example TXT': ['v=spf1 ip4:192.0.2.1 -all'],
  '_dmarc.acme.example TXT': ['v=DMARC1; p=reject'],
}

const sink = await startSink()
const scene = await openScene(t, { sink })
const { folder, ports } = scene.house
const gatewayFile = join(folder, 'gateway-gw1.yaml')
const keyserverFile = join(folder, 'keyserver.yaml')
type Yaml = Record<string, unknown>
const config: () => Yaml = () => parse(readFileSync(gatewayFile, 'utf8'))

/** The organization's configuration with these members, in a file of its own beside the house's. */
function changed(members: Yaml, others: Yaml = {}): string {
  const file = join(folder, 'changed.yaml')
  const organization = {
    ...{ name: 'Acme', nextHop: { host: '127.0.0.1', port: sink.port } },
    ...{ traceKey: { file: 'trace.key' }, loopSecret: { file: 'loop.secret' }, ...members },
  }
  writeFileSync(file, stringify({ ...config(), organizations: { 'acme.example': organization }, ...others }))
  return file
}

type Options = {
  readonly argv?: readonly string[]
  readonly zone?: Zone
  readonly now?: () => Date
  readonly names?: Names
}

async function ask(file: string, { argv = [], zone = good, now, names = namesOf(zone) }: Options = {}) {
  const io = capture()
  const code = await doctor(['--gateway', file, '--json', ...argv], io, { names, ...(now ? { now } : {}) })
  const { healthy, findings } = JSON.parse(io.text()) as { healthy: boolean; findings: Finding[] }
  const of = (level: Finding['level'], area?: string) =>
    findings
      .filter((one) => one.level === level && (area === undefined || one.area === area))
      .map(({ found, todo }) => `${found} -> ${todo}`)
      .join('\n')
  return { code, healthy, findings, of }
}

t.test('a whole house is healthy: everything is looked at, nothing is broken, exit 0', async (t) => {
  const { code, healthy, findings, of } = await ask(gatewayFile, { argv: ['--keyserver', keyserverFile] })
  t.equal(of('broken'), '')
  t.equal(code, 0)
  t.equal(healthy, true)
  const areas = [
    'configuration',
    'gateway',
    'certificates',
    'key server',
    'clock',
    'next hop',
    'loops',
    'spool',
    'held',
    'open relay',
  ]
  for (const area of [...areas, 'disk', 'dns']) t.not(of('ok', area), '', area)
  t.match(of('ok', 'key server'), /policy [0-9a-f]{12} is active for acme\.example \(acme\.example\)/)
  t.match(of('ok', 'open relay'), /turns a stranger away: 550 5\.7\.1/)
  t.match(of('ok', 'certificates'), /key server's gateway listener: valid until/)
  t.match(of('ok', 'certificates'), /the key server, as it answers: valid until/)
  t.match(of('ok', 'dns'), /DMARC p=reject/)
  t.match(of('look', 'dkim'), /leaves here without a DKIM signature.*sealpost dkim acme\.example/)
  t.ok(
    findings.every(({ level, todo }) => (level === 'ok') === (todo === null)),
    'and all else says what to do',
  )
  t.equal(sink.deliveries.length, 0, 'no mail was sent')
})

t.test('for people it is a line a finding, what to do below, and a sum', async (t) => {
  const io = capture()
  t.equal(await doctor(['--gateway', gatewayFile], io, { names: namesOf({}) }), 0)
  t.match(io.text(), /^ok {6}gateway {7}is running, and ready$/m)
  t.match(io.text(), /^look {4}dns {11}acme\.example has no DMARC record\n {22}-> publish TXT "v=DMARC1;/m)
  t.match(io.text(), /^0 broken, \d+ to look at, \d+ ok$/m)
})

t.test('a canary goes the real way and is found in the log', async (t) => {
  const { code, of } = await ask(gatewayFile, { argv: ['--keyserver', keyserverFile, '--send', 'bo@example.org'] })
  t.equal(code, 0)
  t.match(of('ok', 'canary'), /handed in at submission for bo@example\.org: 250 2\.0\.0 envelope/)
  t.match(of('ok', 'canary'), /from issue to delivery \(rule .+\): envelope \S{22}: issued, confirmed, outcome sent/)
  const [mail] = sink.to('bo@example.org')
  t.equal(mail?.sender, 'postmaster@acme.example')
  t.notMatch(mail?.octets.toString('latin1'), /to see whether mail gets through/, 'sealed like any other')
})

t.test('without the key server’s database the canary’s way is told as far as it was seen', async (t) => {
  const { code, of } = await ask(gatewayFile, { argv: ['--send', 'bo@example.org', '--from', 'anna@acme.example'] })
  t.equal(code, 0)
  t.match(
    of('look', 'canary'),
    /not followed into the log.*sealpost audit show DATABASE --log acme\.example --envelope=/,
  )
})

t.test('a canary that is refused is broken, and says by whom', async (t) => {
  const other = sink.script.refuse
  sink.script.refuse = () => '550 5.1.1 no such mailbox'
  t.teardown(() => {
    sink.script.refuse = other
  })
  const { code, of } = await ask(gatewayFile, { argv: ['--send', 'nobody@example.org'] })
  t.equal(code, 1)
  t.match(of('broken', 'canary'), /was not taken: submission: 550 5\.1\.1.*no such mailbox/)
  const foreign = await ask(gatewayFile, { argv: ['--send', 'bo@example.org', '--from', 'eve@example.net'] })
  t.match(foreign.of('broken', 'canary'), /in none of the domains/)
})

t.test('next hop: not there, without TLS, with TLS of others, with the right TLS', async (t) => {
  const at = (port: number, tls: Yaml | null) =>
    ask(changed({ nextHop: { host: '127.0.0.1', port, ...(tls === null ? {} : { tls }) } }))
  const gone = await startSink()
  await gone.close()
  t.match(
    (await at(gone.port, null)).of('broken', 'next hop'),
    /could not be reached \(ECONNREFUSED\).*every mail gets 451/,
  )
  t.match((await at(sink.port, { mode: 'verify' })).of('broken', 'next hop'), /offers no TLS.*switched on/)
  const pem = (name: string) => readFileSync(join(folder, 'certs', name))
  const secure = await startSink({ tls: { cert: pem('gateway.pem'), key: pem('gateway.key') } })
  t.teardown(() => secure.close())
  t.match(
    (await at(secure.port, { mode: 'verify' })).of('broken', 'next hop'),
    /TLS with the next hop failed.*tls > ca/,
  )
  const named = { mode: 'verify', ca: 'certs/ca.pem', name: 'mx.example.org' }
  t.match((await at(secure.port, named)).of('broken', 'next hop'), /does not match|altnames.*> name/i)
  const right = await at(secure.port, { mode: 'verify', ca: 'certs/ca.pem', name: 'localhost' })
  t.match(right.of('ok', 'next hop'), /TLS \(verify\)/)
  t.equal(right.code, 0)
})

t.test('a provider’s API: whether sign-in gives a token', async (t) => {
  let right = true
  const cloud = createHttpServer((_, response) => {
    response.writeHead(right ? 200 : 401, { 'content-type': 'application/json' })
    response.end(JSON.stringify(right ? { access_token: 'token', expires_in: 3600 } : { error: 'invalid_client' }))
  })
  await new Promise<void>((resolve) => cloud.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => void cloud.close(() => resolve())))
  const bound = cloud.address()
  const authority = `http://127.0.0.1:${bound !== null && typeof bound === 'object' ? bound.port : 0}`
  writeFileSync(join(folder, 'client.secret'), 'the client secret', { mode: 0o600 })
  const clientSecret = { file: 'client.secret' }
  const api = {
    provider: 'graph',
    tenant: 'acme.example',
    clientId: 'an-id',
    clientSecret,
    endpoint: authority,
    authority,
  }
  t.match((await ask(changed({ api }))).of('ok', 'next hop'), /\(graph\): sign-in for acme\.example gives a token/)
  const { cert, key } = await makeApplicationCertificate(2048, 12)
  writeFileSync(join(folder, 'application.pem'), cert)
  writeFileSync(join(folder, 'application.key'), key, { mode: 0o600 })
  const clientCertificate = { cert: 'application.pem', key: 'application.key' }
  const { clientSecret: _, ...application } = api
  const signed = await ask(changed({ api: { ...application, clientCertificate } }))
  t.match(signed.of('look', 'certificates'), /acme\.example towards its provider's API: .* 11 days more.*make another/)
  right = false
  const refused = await ask(changed({ api }))
  t.match(refused.of('broken', 'next hop'), /no token for .*HTTP 401: invalid_client.*renew the secret/)
  t.notMatch(JSON.stringify(refused.findings), /the client secret/)
})

t.test('a scanner says what it is, or is missed; what it does not look at is told', async (t) => {
  const clamd = createServer((socket) => {
    socket.on('error', () => undefined).once('data', () => socket.end('ClamAV 1.4.6/27000/Sun\0'))
  })
  await new Promise<void>((resolve) => clamd.listen(0, '127.0.0.1', resolve))
  const bound = clamd.address()
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0
  const there = await ask(changed({}, { scanner: { kind: 'clamd', port } }))
  t.match(there.of('ok', 'scanner'), /acme\.example: 127\.0\.0\.1:\d+ answers: ClamAV 1\.4\.6/)
  t.match(there.of('look', 'scanner'), /more than 26214400 octets is refused.*raise scanner > maxSize/)
  const icap = await ask(changed({ scanner: { kind: 'icap', service: 'x', port, timeoutSeconds: 60 } }))
  t.match(icap.of('broken', 'scanner'), /this is no ICAP service|closed the connection|broke/)
  t.match(icap.of('look', 'scanner'), /as long as the whole delivery/)
  await new Promise<void>((resolve) => void clamd.close(() => resolve()))
  t.match(
    (await ask(changed({}, { scanner: { kind: 'clamd', port } }))).of('broken', 'scanner'),
    /could not be reached.*451/,
  )
  t.equal((await ask(changed({}))).of('look', 'scanner'), '', 'none is no fault')
})

t.test(
  'a next hop that is the gateway itself is a circle; a loop secret that is not set is worth a look',
  async (t) => {
    const circle = await ask(changed({ nextHop: { host: '127.0.0.1', port: ports.smtp } }))
    t.match(circle.of('broken', 'loops'), /is this gateway itself.*in a circle/)
    t.equal(circle.code, 1)
    const bare = await ask(changed({ loopSecret: undefined }))
    t.match(bare.of('look', 'loops'), /no loop secret is configured.*openssl rand -hex 24/)
  },
)

t.test('certificates: near their end, of another authority towards the key server, naming no gateway', async (t) => {
  const in340Days = () => new Date(Date.now() + 340 * 86_400_000)
  const late = await ask(gatewayFile, { now: in340Days })
  t.match(late.of('look', 'certificates'), /listener submission: valid until \S+, 2\d days more.*certs init --renew/)
  const expired = await ask(gatewayFile, { now: () => new Date(Date.now() + 500 * 86_400_000) })
  t.match(expired.of('broken', 'configuration'), /gateway\.pem: this certificate expired on/)
  t.match(expired.of('look', 'configuration'), /nothing else was looked at/)
  t.equal(expired.code, 1)

  await certs(['init', '--to', join(folder, 'others'), '--gateway', 'gw1'], capture())
  const keyServer = { url: `https://localhost:${ports.gateways}`, ca: 'certs/ca.pem' }
  const stranger = { cert: 'others/gateway-gw1.pem', key: 'others/gateway-gw1.key' }
  const refused = await ask(changed({}, { keyServer: { ...keyServer, ...stranger } }))
  t.match(refused.of('broken', 'key server'), /did not answer.*name one \(keyServer > cert\)/)
  t.match(refused.of('look', 'certificates'), /does not lead to the authority in keyServer > ca/)
  const nameless = { cert: 'certs/gateway.pem', key: 'certs/gateway.key' }
  const unnamed = await ask(changed({}, { keyServer: { ...keyServer, ...nameless } }))
  t.match(unnamed.of('broken', 'certificates'), /names no gateway/)
  const others = await ask(changed({}, { keyServer: { ...(config().keyServer as Yaml), ca: 'others/ca.pem' } }))
  t.match(others.of('broken', 'key server'), /did not answer.*keyServer > ca/)
})

t.test('an organization that the key server does not give this gateway is told, with where to give it', async (t) => {
  const organization = { name: 'Other', nextHop: { host: '127.0.0.1', port: sink.port } }
  const all = { ...(config().organizations as Yaml), 'other.example': organization }
  const { of, code } = await ask(changed({}, { organizations: all }))
  t.equal(code, 1)
  t.match(of('broken', 'key server'), /refuses this gateway for other\.example \(403.*keyserver\.yaml/)
})

t.test('clocks that are apart are told by how far', async (t) => {
  const ahead = (seconds: number) => () => new Date(Date.now() + 1000 * seconds)
  t.match((await ask(gatewayFile, { now: ahead(30) })).of('look', 'clock'), /^(?:29|30|31) s apart.*NTP/)
  const far = await ask(gatewayFile, { now: ahead(600) })
  t.match(far.of('broken', 'clock'), /^(?:599|600|601) s apart/)
  t.equal(far.code, 1)
})

t.test('disk: a folder that cannot be written is broken, one that is still to be made is not', async (t) => {
  const [sealed, fresh] = await diskFindings({ data: '/proc', copies: join(folder, 'a', 'b', 'c') })
  t.equal(sealed?.level, 'broken')
  t.match(sealed?.found, /\/proc cannot be written/)
  t.not(fresh?.level, 'broken')
  t.match(fresh?.found, /to be made in/)
})

t.test('held: what waits for an officer is told, and a key that is gone', async (t) => {
  const folder = t.testdir({ held: { ['a'.repeat(22)]: 'sealed', '.draft-x': '' }, 'held.key': 'key', none: {} })
  const in_ = (hours: number) => new Date(Date.now() + hours * 3_600_000 + 90_000)
  t.match(await heldFindings({ data: folder }, in_(2)), [{ level: 'ok', found: /^1 mail waits .* for 2 h$/ }])
  t.match(await heldFindings({ data: folder }, in_(30)), [{ level: 'look', todo: /sealpost held list/ }])
  t.match(await heldFindings({ data: join(folder, 'none') }, in_(2)), [{ level: 'ok', found: /no mail waits/ }])
  await rm(join(folder, 'held.key'))
  t.match(await heldFindings({ data: folder }, in_(2)), [{}, { level: 'broken', found: /held\.key is missing/ }])
})

t.test(
  'spool: what waits for long is told, and so are a key that is gone and a disk without its reserve',
  async (t) => {
    const folder = t.testdir({
      spool: { ['a'.repeat(22)]: 'sealed', [`${'a'.repeat(22)}.state`]: 'sealed' },
      key: 'key',
    })
    const hour = 3_600_000
    const spool = (members: Partial<Config['spool']> = {}): Pick<Config, 'spool'> => ({
      spool: {
        ...{ folder: join(folder, 'spool'), keyFile: join(folder, 'key'), lifeMs: 120 * hour, delayNoticeMs: 4 * hour },
        ...{ pauses: { firstMs: 1, mostMs: 1 }, reserve: 0, ...members },
      },
    })
    const in_ = (hours: number) => new Date(Date.now() + hours * hour + 90_000)
    const [young] = await spoolFindings(spool(), in_(1))
    t.match(young, { level: 'ok', found: /^1 mail waits, the oldest for 6\d min$/ })
    const [old] = await spoolFindings(spool(), in_(5))
    t.match(old, { level: 'look', found: /the oldest for 5 h/ })
    const [dead] = await spoolFindings(spool(), in_(130))
    t.match(dead, { level: 'broken', found: /5 days: longer than it may/ })
    const [, key] = await spoolFindings(spool({ keyFile: join(folder, 'gone') }), in_(1))
    t.match(key, { level: 'broken', found: /its key .* is missing/ })
    const [, full] = await spoolFindings(spool({ reserve: 1e18 }), in_(1))
    t.match(full, { level: 'broken', found: /less than its reserve/ })
    t.match(await spoolFindings(spool({ folder: join(folder, 'none') }), in_(1)), [{ level: 'ok' }])
  },
)

t.test('a listener that takes mail from strangers is found out, and so is one that is not there', async (t) => {
  const open = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.write('220 open.example\r\n')
    socket.on('data', (octets) => {
      for (const line of octets.toString('latin1').split('\r\n').filter(Boolean)) {
        heard.push(line)
        socket.write(line === 'QUIT' ? '221 bye\r\n' : '250 fine\r\n')
      }
    })
  })
  const heard: string[] = []
  await new Promise<void>((resolve) => open.listen(0, '127.0.0.1', resolve))
  const bound = open.address()
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0
  const clients = [{ org: 'acme.example', from: 'anyone' }]
  const file = changed({}, { listeners: [{ name: 'net', host: '127.0.0.1', port, clients }] })
  const relay = await ask(file)
  t.match(relay.of('broken', 'open relay'), /takes mail from a stranger to a stranger.*anybody can send/)
  t.equal(relay.code, 1)
  t.notMatch(heard.join(), /DATA/, 'no mail was sent')
  t.match(heard.join(), /RSET/)
  await new Promise((resolve) => open.close(resolve))
  t.match((await ask(file)).of('broken', 'open relay'), /could not be tried.*start the gateway/)
})

t.test('DNS: what is missing or wrong for a domain is named, with the record to publish', async (t) => {
  const cases: readonly (readonly [Zone, 'look' | 'broken', RegExp])[] = [
    [{ ...good, 'acme.example MX': [] }, 'look', /has no MX record.*replies and bounces/],
    [{ ...good, 'acme.example MX': ['0 .'] }, 'look', /null MX/],
    [{ ...good, 'acme.example TXT': ['other'] }, 'look', /no SPF record.*v=spf1 ip4/],
    [{ ...good, 'acme.example TXT': ['v=spf1 -all', 'v=spf1 ~all'] }, 'broken', /more than one SPF/],
    [{ ...good, 'acme.example TXT': ['v=spf1 +all'] }, 'broken', /whole world/],
    [{ ...good, '_dmarc.acme.example TXT': [] }, 'look', /no DMARC record.*rua=mailto:postmaster@acme\.example/],
    [{ ...good, '_dmarc.acme.example TXT': ['v=DMARC1; p=none', 'v=DMARC1; p=none'] }, 'broken', /more than one DMARC/],
    [{ ...good, '_dmarc.acme.example TXT': ['v=DMARC1; rua=x'] }, 'broken', /no policy/],
  ]
  for (const [zone, level, found] of cases) t.match((await ask(gatewayFile, { zone })).of(level, 'dns'), found)
})

t.test('DNS that does not answer is no finding about the domain, and is told as what it is', async (t) => {
  const silent = async () => {
    throw new NoAnswer('192.0.2.53 (ETIMEOUT)')
  }
  const { of, code } = await ask(gatewayFile, { names: { mx: silent, txt: silent } })
  t.equal(code, 0)
  t.match(of('look', 'dns'), /DNS was not answered by 192\.0\.2\.53 \(ETIMEOUT\).*--resolver/)
  t.notMatch(of('look', 'dns'), /has no/)
})

t.test('DKIM: keys here are compared with DNS; where the next hop signs, they are not to be used', async (t) => {
  await dkim(['acme.example', '--selector', 's1', '--to', join(folder, 'dkim.key')], capture())
  const keys = [{ domain: 'acme.example', selector: 's1', key: 'dkim.key' }]
  const record = dkimRecord(readFileSync(join(folder, 'dkim.key'), 'utf8'))
  const with_ = (text: string) => ({ ...good, 's1._domainkey.acme.example TXT': [text] })
  const file = changed({ dkim: keys })
  const right = await ask(file, { zone: with_(record) })
  t.match(right.of('ok', 'dkim'), /s1\._domainkey\.acme\.example is in DNS and fits the key/)
  t.match(right.of('ok', 'dkim'), /this gateway signs for acme\.example/)
  t.equal(right.code, 0)
  t.match((await ask(file)).of('broken', 'dkim'), /is not in DNS/)
  t.match((await ask(file, { zone: with_(record.replace(/.{8}$/, 'AAAAAAAA')) })).of('broken', 'dkim'), /another key/)

  const nextHop = { host: '127.0.0.1', port: sink.port, signs: true, microsoft: true }
  const both = await ask(changed({ dkim: keys, nextHop }))
  t.match(both.of('look', 'dkim'), /has keys but does not sign, because 127\.0\.0\.1 does.*take the keys out/)
  t.match(both.of('look', 'dkim'), /selector1 and selector2 are not in DNS.*switch DKIM on at the provider/)
  t.match(both.of('look', 'dns'), /does not include spf\.protection\.outlook\.com/)
  const provider = { ...good, 'selector1._domainkey.acme.example TXT': ['v=DKIM1; k=rsa; p=AAAA'] }
  const off = await ask(changed({ nextHop }), { zone: provider })
  t.match(off.of('ok', 'dkim'), /the next hop signs, with selector1/)
  t.match(off.of('ok', 'dkim'), /this gateway does not sign, because/)
})

t.test('--resolver asks a real name server by UDP', async (t) => {
  await dkim(['acme.example', '--selector', 'u1', '--to', join(folder, 'udp.key')], capture())
  const record = dkimRecord(readFileSync(join(folder, 'udp.key'), 'utf8'))
  const server = await startDnsServer({ ...good, 'u1._domainkey.acme.example TXT': [record] })
  const file = changed({ dkim: [{ domain: 'acme.example', selector: 'u1', key: 'udp.key' }] })
  const io = capture()
  t.equal(await run(['doctor', '--gateway', file, '--resolver', server.address], io), 0)
  t.match(io.text(), /MX mx\.acme\.example/)
  t.match(io.text(), /SPF v=spf1 ip4:192\.0\.2\.1 -all/)
  t.match(io.text(), /u1\._domainkey\.acme\.example is in DNS and fits the key/)
  await server.close()
  const silent = capture()
  await run(['doctor', '--gateway', file, '--resolver', server.address], silent)
  t.match(silent.text(), /DNS was not answered by 127\.0\.0\.1:\d+ \(E/)
})

t.test('what is asked wrongly is told', async (t) => {
  for (const argv of [
    [],
    ['--gateway', gatewayFile, '--resolver', 'dns.example'],
    ['--gateway', gatewayFile, '--send', 'nobody'],
    ['--gateway', gatewayFile, '--send', 'a b@example.org'],
    ['--gateway', gatewayFile, '--from', 'anna@acme.example'],
  ]) {
    t.equal(await run(['doctor', ...argv], capture()), 2, argv.slice(2).join(' '))
  }
  const missing = capture()
  t.equal(await run(['doctor', '--gateway', join(folder, 'none.yaml')], missing), 1)
  t.match(missing.text(), /broken {2}configuration .*there is no such file/)
})

t.test('a gateway whose key server is away is not ready, and the doctor says why', async (t) => {
  await scene.keyserver.stop()
  await scene.ready(ports.gatewayOps, false)
  const { of, code } = await ask(gatewayFile)
  t.equal(code, 1)
  t.match(of('broken', 'gateway'), /not ready: the key server does not answer/)
  t.match(of('broken', 'key server'), /did not answer.*start the key server/)
  t.match(of('look', 'clock'), /compared with nothing/)
  await scene.gateway.stop()
  t.match((await ask(gatewayFile)).of('broken', 'gateway'), /does not answer at 127\.0\.0\.1:\d+.*start it/)
})
