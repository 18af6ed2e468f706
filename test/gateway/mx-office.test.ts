import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { mxFindings } from '../../cli/doctor-mx.ts'
import { loadConfig } from '../../gateway/config.ts'
import { ConfigError } from '../../protocol/config-document.ts'
import { startNameServer } from './name-server.ts'
import { openOffice } from './office.ts'
import { startScriptedHop } from './scripted-hop.ts'

t.setTimeout(60_000)

/* A gateway without a relay: it asks DNS where each recipient's mail goes. */
const secret = 'the words that only the recipient may read'
const anna = 'anna@acme.example'
let count = 0
const letter = (to: string) =>
  `From: ${anna}\nTo: ${to}\nSubject: An offer\nMessage-ID: <mx${++count}@acme.example>\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n\n${secret}\n`

async function openTown(t: Test) {
  const taken: { at: string; content: string }[] = []
  const note = (at: string) => (content: string) => {
    taken.push({ at, content })
    return '250 2.0.0 taken\r\n'
  }
  const first = await startScriptedHop({ content: note('example.org'), at: { address: '127.0.0.2', port: 0 } })
  const second = await startScriptedHop({
    ...{ content: note('acme.example'), at: { address: '127.0.0.3', port: first.port } },
  })
  t.teardown(async () => {
    await first.close()
    await second.close()
  })
  const dns = await startNameServer(t, {
    ...{ 'example.org MX': ['10 mx.example.org'], 'mx.example.org A': ['127.0.0.2'] },
    ...{ 'acme.example MX': ['10 mx.acme.example'], 'mx.acme.example A': ['127.0.0.3'] },
    'gw1.acme.example A': ['192.0.2.25'],
  })
  const mx = { resolver: [`127.0.0.1:${dns.server.port}`], port: first.port, thisMachine: true }
  const { privateKey } = generateKeyPairSync('ed25519')
  // The office clears the folder of the test.
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-mx-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const key = join(folder, 'dkim.key')
  writeFileSync(key, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  return { taken, dns, mx, dkim: [{ domain: 'acme.example', selector: 's1', key }] }
}

t.test('each recipient gets the mail from the gateway itself, sealed or passed, and signed', async (t) => {
  const { taken, mx, dkim } = await openTown(t)
  const organizations = { 'acme.example': { name: 'Acme', nextHop: { mx }, dkim } }
  const office = await openOffice(t, {}, { gateway: { organizations } })
  const to = ['kunde@example.org', 'bert@acme.example', 'nobody@gone.example']
  const reply = await office.send(anna, to, letter('kunde@example.org'))
  t.match(reply, /^250 .*next hop: 250 2\.0\.0 taken \(mx\.(?:acme\.example|example\.org)\)/, 'it says who took it')
  const at = (place: string) => taken.filter((one) => one.at === place).map(({ content }) => content)
  t.equal(at('example.org').length, 1)
  const [sealed] = at('example.org')
  t.match(sealed, 'protected-message.sealpost')
  t.notMatch(sealed, secret)
  t.notMatch(sealed, 'Sealpost-Handled')
  t.match(sealed, /^DKIM-Signature: .*d=acme\.example/s)
  const passed = at('acme.example').find((content) => content.includes(secret))
  t.match(passed, /^DKIM-Signature: /)
  const bounce = at('acme.example').find((content) => content.includes('multipart/report'))
  t.match(bounce, /nobody@gone\.example/)
  t.match(bounce, /the domain gone\.example does not exist/)
  t.equal(office.mails.length, 0, 'and the relay of old sees nothing')
})

t.test('a domain whose servers are away does not keep the others waiting', async (t) => {
  const { taken, mx, dns } = await openTown(t)
  dns.zone['away.example A'] = ['127.0.0.9']
  const organizations = { 'acme.example': { name: 'Acme', nextHop: { mx } } }
  const office = await openOffice(t, {}, { gateway: { organizations } })
  for (let i = 0; i < 5; i++) t.match(await office.send(anna, ['x@away.example'], letter('x@away.example')), /^451 /)
  t.match(await office.send(anna, ['kunde@example.org'], letter('kunde@example.org')), /^250 /)
  t.equal(taken.length, 1)
})

t.test('the doctor looks at name servers, our name, and the way out', async (t) => {
  const { mx, dns } = await openTown(t)
  const organizations = { 'acme.example': { name: 'Acme', nextHop: { mx: { ...mx, dnssec: 'trusted-resolver' } } } }
  const office = await openOffice(t, {}, { gateway: { organizations } })
  const [org] = loadConfig(office.configFile).organizations
  if (org?.nextHop.kind !== 'mx') throw new Error('mail goes to mail exchangers')
  const { nextHop } = org
  const ask = () => mxFindings(org, nextHop, ['acme.example'])
  const found = async (level: string) => (await ask()).filter((one) => one.level === level).map((one) => one.found)
  t.match((await found('ok')).join('\n'), /mail goes to each domain's own servers/)
  t.match((await found('ok')).join('\n'), /gw1\.acme\.example, our name in EHLO, has the address 192\.0\.2\.25/)
  t.match((await found('ok')).join('\n'), /the way out is open: mx\.acme\.example:\d+ greets us, no TLS/)
  t.match((await found('look')).join('\n'), /DANE is never used/)
  dns.signed.add('org')
  dns.zone['org SOA'] = ['signed']
  t.match((await found('ok')).join('\n'), /validate DNSSEC: DANE is used/)
  dns.zone['mx.acme.example A'] = ['127.0.0.9']
  dns.zone['gw1.acme.example A'] = []
  t.match((await found('look')).join('\n'), /mx\.acme\.example:\d+ cannot be reached from here/)
  t.match((await found('look')).join('\n'), /has no address in DNS/)
  dns.zone['acme.example MX'] = ['10 gw1.acme.example']
  t.match((await found('broken')).join('\n'), /mail to acme\.example itself would come back/)
  dns.broken.add('acme.example')
  t.match((await found('broken')).join('\n'), /no name server answers/)
})

t.test('what cannot be with mx is said', async (t) => {
  const office = await openOffice(t)
  const yaml = parse(readFileSync(office.configFile, 'utf8'))
  const faults = (nextHop: unknown, more: object = {}) => {
    writeFileSync(
      office.configFile,
      stringify({ ...yaml, organizations: { 'acme.example': { name: 'Acme', nextHop } }, ...more }),
    )
    try {
      return String(loadConfig(office.configFile).organizations[0]?.nextHop.kind)
    } catch (error) {
      return error instanceof ConfigError ? error.faults.join('\n') : String(error)
    }
  }
  t.equal(faults('mx'), 'mx')
  t.equal(faults({ mx: {}, connections: 5, carryLimit: 1_000_000 }), 'mx')
  t.equal(faults({ host: 'a.example', port: 25 }), 'relay')
  t.match(faults('relay'), /nextHop: expected mx, or host and port of the provider$/)
  t.match(faults({ host: 'a.example' }), /nextHop: port is missing$/)
  t.match(faults({ mx: {}, host: 'a.example', user: 'x' }), /with mx, host, user cannot be given/)
  t.match(faults({ mx: { resolver: ['dns.example'] } }), /mx > resolver: dns\.example is no address/)
  t.match(faults({ mx: { dnssec: 'trusted-resolver' } }), /mx > dnssec: name the servers that validate/)
  t.match(faults({ mx: { dnssec: 'yes' } }), /mx > dnssec: expected one of off, trusted-resolver$/)
  const listener = { host: '127.0.0.1', port: 0, signInWithoutTls: true, accounts: { provider: true } }
  t.match(faults('mx', { listeners: [listener] }), /nextHop is mx, and no server there knows passwords/)
})

t.test('what cannot be delivered now waits in the spool for its own domain', async (t) => {
  const { taken, mx, dns } = await openTown(t)
  const spool = { retrySeconds: 1, retryMostSeconds: 1 }
  const organizations = { 'acme.example': { name: 'Acme', nextHop: { mx } } }
  const office = await openOffice(t, {}, { listener: { delivery: 'spool' }, gateway: { organizations, spool } })
  dns.broken.add('example.org')
  t.match(await office.send(anna, ['kunde@example.org', 'bert@acme.example'], letter('kunde@example.org')), /^250 /)
  for (let i = 0; i < 100 && taken.length < 1; i++) await sleep(50)
  t.match(taken, [{ at: 'acme.example' }])
  dns.broken.clear()
  for (let i = 0; i < 200 && taken.length < 2; i++) await sleep(50)
  await sleep(1500)
  t.same(
    taken.map(({ at }) => at),
    ['acme.example', 'example.org'],
  )
})
