import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { nextHopFindings } from '../../cli/doctor-next-hop.ts'
import { loadConfig, type OrganizationConfig } from '../../gateway/config.ts'
import { createSmtpCourier } from '../../gateway/courier-smtp.ts'
import { createLog } from '../../gateway/log.ts'
import { openMxDelivery } from '../../gateway/mx-delivery.ts'
import { makeCertificate } from './certificate.ts'
import { startNameServer } from './name-server.ts'
import { addRule, openOffice } from './office.ts'
import { type Script, startScriptedHop } from './scripted-hop.ts'

t.setTimeout(60_000)

/* "Where the recipient's host gives verified TLS, pass; otherwise seal." */
const certificate = await makeCertificate('mx.safe.example')
const enforced = {
  ...{ id: '20260101', mode: 'enforce', mx: ['mx.safe.example'], version: 'STSv1', maxAge: 86_400 },
  expires: new Date(Date.now() + 86_400_000).toISOString(),
}
const soon = () => AbortSignal.timeout(5_000)

t.test('a relay that takes REQUIRETLS over verified TLS answers for the whole way; another does not', async (t) => {
  const tls = { mode: 'verify', name: 'mx.safe.example', ca: [certificate.ca] } as const
  const ask = async (script: Script, policy: Parameters<typeof createSmtpCourier>[0]['tls'] = tls) => {
    const hop = await startScriptedHop(script)
    const courier = createSmtpCourier({
      host: '127.0.0.1',
      port: hop.port,
      helo: 'gw',
      ...(policy ? { tls: policy } : {}),
    })
    t.teardown(async () => {
      await courier.close()
      await hop.close()
    })
    return [...((await courier.safeDomains?.(['a.example', 'b.example'], soon())) ?? [])]
  }
  const promising: Script = { tls: certificate, ehlo: ['STARTTLS', 'REQUIRETLS'] }
  t.same(await ask(promising), ['a.example', 'b.example'], 'asked before any mail')
  t.same(await ask({ tls: certificate, ehlo: ['STARTTLS'] }), [])
  t.same(await ask(promising, { mode: 'opportunistic' }), [])
  t.same(await ask({ banner: '421 go away\r\n' }), [])
})

t.test('the doctor says so where rules ask what the next hop does not tell', async (t) => {
  const hop = await startScriptedHop({ ehlo: ['SIZE'] })
  t.teardown(() => hop.close())
  const nextHop = { kind: 'relay', host: '127.0.0.1', port: hop.port, helo: 'gw', connections: 1 }
  const org = { id: 'acme.example', nextHop, carryLimit: 25_000_000 } as unknown as OrganizationConfig
  const found = async (asks: boolean) => (await nextHopFindings(org, [], asks)).map((one) => one.found).join()
  t.match(await found(true), /rules of acme\.example ask recipient\.tls, which is always none/)
  t.notMatch(await found(false), /recipient\.tls/)
})

t.test('one look at many domains ends in time, whatever DNS does', async (t) => {
  const dns = await startNameServer(t, {
    ...{ 'safe.example MX': ['10 mx.safe.example'], 'mx.safe.example A': ['127.0.0.2'] },
    ...{ 'plain.example MX': ['10 mx.plain.example'], 'mx.plain.example A': ['127.0.0.2'], 'null.example MX': ['0 .'] },
  })
  const silent = { address: '127.0.0.1', port: 9 }
  const file = join(t.testdir(), 'sts.json')
  writeFileSync(file, JSON.stringify({ 'safe.example': enforced }))
  const open = (server: typeof silent) =>
    openMxDelivery({
      config: { port: 25, helo: 'gw', connections: 5, resolver: [server], validating: false, ca: null, here: true },
      ...{ file, budgetMs: 6_000, domains: () => [], log: createLog('error', new PassThrough()) },
    })
  const domains = ['safe.example', 'plain.example', 'null.example', 'gone.example']
  const courier = await open(dns.server)
  t.same([...((await courier.safeDomains?.(domains, soon())) ?? [])], ['safe.example'])
  dns.broken.add('safe.example')
  t.same([...((await courier.safeDomains?.(domains, soon())) ?? [])], [], 'what cannot be found out is not safe')
  const began = performance.now()
  const late = await (await open(silent)).safeDomains?.(domains, AbortSignal.timeout(300))
  t.same([...(late ?? [])], [])
  t.ok(performance.now() - began < 2_000)
  t.same([...((await courier.safeDomains?.(domains, AbortSignal.abort())) ?? [])], [])
})

const anna = 'anna@acme.example'
let count = 0
const letter = (to: string) =>
  `From: ${anna}\nTo: ${to}\nSubject: x\nMessage-ID: <r${++count}@acme.example>\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n\nthe words\n`

/** A gateway that delivers by MX to two domains, one of which enforces MTA-STS, under a policy that asks. */
async function openTown(t: Test, first: Script) {
  const taken: { at: string; content: string }[] = []
  const noting = (at: string): Script => ({
    content(content) {
      taken.push({ at, content })
      return '250 2.0.0 taken\r\n'
    },
  })
  const safe = await startScriptedHop({ ...noting('safe'), ...first, at: { address: '127.0.0.2', port: 0 } })
  const plain = await startScriptedHop({ ...noting('plain'), at: { address: '127.0.0.3', port: safe.port } })
  t.teardown(async () => {
    await safe.close()
    await plain.close()
  })
  const dns = await startNameServer(t, {
    ...{ 'safe.example MX': ['10 mx.safe.example'], 'mx.safe.example A': ['127.0.0.2'] },
    ...{ 'plain.example MX': ['10 mx.plain.example'], 'mx.plain.example A': ['127.0.0.3'] },
  })
  const office = await openOffice(t, {}, { organization: { recipientTls: true } })
  await addRule(office, `  - { name: safe-way, when: "recipient.tls == 'verified'", then: pass }`)
  await office.stopKeyServer()
  await office.startKeyServer()
  mkdirSync(join(office.data, 'mta-sts'), { recursive: true })
  writeFileSync(join(office.data, 'mta-sts', 'acme.example.json'), JSON.stringify({ 'safe.example': enforced }))
  const ca = join(office.data, 'mx-ca.pem')
  writeFileSync(ca, certificate.ca)
  const mx = { resolver: [`127.0.0.1:${dns.server.port}`], port: safe.port, thisMachine: true, ca }
  const yaml = parse(readFileSync(office.configFile, 'utf8'))
  yaml.organizations['acme.example'].nextHop = { mx }
  writeFileSync(office.configFile, stringify(yaml))
  await office.gateway.reload(loadConfig(office.configFile))
  return { office, taken, dns }
}

t.test('it passes where the host promises TLS, and is sealed where it does not', async (t) => {
  const { office, taken } = await openTown(t, { tls: certificate, ehlo: ['STARTTLS', 'SIZE'] })
  const reply = await office.send(anna, ['bo@safe.example', 'cy@plain.example'], letter('bo@safe.example'))
  t.match(reply, /^250 /)
  const at = (place: string) => taken.filter((one) => one.at === place).map(({ content }) => content)
  t.equal(at('safe').length, 1)
  t.match(at('safe')[0], 'the words')
  t.equal(at('plain').length, 1)
  t.match(at('plain')[0], 'protected-message.sealpost')
  t.notMatch(at('plain')[0], 'the words')
})

t.test('a host that promised TLS and does not give it gets nothing', async (t) => {
  const { office, taken } = await openTown(t, { ehlo: ['SIZE'] })
  t.match(await office.send(anna, ['bo@safe.example'], letter('bo@safe.example')), /^451 4\.7\.0 /)
  await sleep(200)
  t.same(taken, [])
})

t.test('what DNS does not say in time is sealed', async (t) => {
  const { office, taken, dns } = await openTown(t, { tls: certificate, ehlo: ['STARTTLS', 'SIZE'] })
  dns.broken.add('mx.safe.example')
  await office.send(anna, ['bo@safe.example'], letter('bo@safe.example'))
  t.same(taken, [])
  dns.broken.clear()
  t.match(await office.send(anna, ['cy@plain.example'], letter('cy@plain.example')), /^250 /)
  t.notMatch(taken[0]?.content, 'the words')
})
