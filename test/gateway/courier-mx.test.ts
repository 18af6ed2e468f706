import { createHash, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { bounceWords } from '../../gateway/bounce-words.ts'
import type { MxConfig } from '../../gateway/config-next-hop.ts'
import { createLog } from '../../gateway/log.ts'
import { openMxDelivery } from '../../gateway/mx-delivery.ts'
import { makeCertificate } from './certificate.ts'
import { deliveryOf, mailOf } from './courier-contract.ts'
import { type NameServer, startNameServer, type Zone } from './name-server.ts'
import { type Script, type ScriptedHop, startScriptedHop } from './scripted-hop.ts'

t.setTimeout(60_000)

const certificate = await makeCertificate('mx.example.org')
const other = await makeCertificate('other.example')
const secure: Script = { tls: certificate, ehlo: ['STARTTLS', 'SIZE'] }
const bo = 'bo@example.org'

/** All mail exchangers of a test listen at this port, each at an address of its own. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

const sts = (mode: string, mx: readonly string[]) => ({
  ...{ id: '20260101', mode, mx, version: 'STSv1', maxAge: 86_400 },
  expires: new Date(Date.now() + 86_400_000).toISOString(),
})

type World = { readonly zone: Zone; readonly servers?: Readonly<Record<string, Script>> }

async function open(t: Test, world: World, more: Partial<MxConfig> = {}, remembered: object = {}) {
  const dns: NameServer = await startNameServer(t, world.zone)
  const port = await freePort()
  const hops: Record<string, ScriptedHop> = {}
  for (const [address, script] of Object.entries(world.servers ?? {})) {
    const hop = await startScriptedHop({ ...script, at: { address, port } })
    hops[address] = hop
    t.teardown(() => hop.close())
  }
  const file = join(t.testdir(), 'sts.json')
  writeFileSync(file, JSON.stringify(remembered))
  const config: MxConfig = {
    ...{ port, helo: 'gw1.acme.example', connections: 5, resolver: [dns.server] },
    ...{ validating: false, ca: certificate.ca, here: true, ...more },
  }
  const log = createLog('error', new PassThrough())
  const courier = await openMxDelivery({ config, file, budgetMs: 6_000, domains: () => ['acme.example'], log })
  t.teardown(() => courier.close())
  const mails = (address: string) => hops[address]?.contents.length ?? 0
  const said = (address: string) => (hops[address]?.commands ?? []).filter((one) => /^(?:MAIL|RCPT)/.test(one))
  return { dns, courier, hops, mails, said, file, port }
}

const one = { 'example.org MX': ['10 mx.example.org'], 'mx.example.org A': ['127.0.0.2'] }

t.test('each domain gets one mail, for its own recipients, and each recipient a result', async (t) => {
  const zone = {
    ...one,
    'example.net MX': ['10 mx.example.net'],
    'mx.example.net A': ['127.0.0.3'],
    'null.example MX': ['0 .'],
  }
  const servers = { '127.0.0.2': {}, '127.0.0.3': { content: () => '550 5.7.1 not this\r\n' } }
  const { courier, said } = await open(t, { zone, servers })
  const to = [bo, 'cy@example.net', 'di@EXAMPLE.org', 'ed@null.example', 'fay@gone.example', 'gus@[192.0.2.1]']
  const { results } = await courier.deliver(deliveryOf(to))
  t.same(
    results.map(({ recipient, outcome, code, enhanced }) => [recipient, outcome, code, enhanced]),
    [
      [bo, 'sent', 250, '2.0.0'],
      ['cy@example.net', 'failed', 550, '5.7.1'],
      ['di@EXAMPLE.org', 'sent', 250, '2.0.0'],
      ['ed@null.example', 'failed', 556, '5.1.10'],
      ['fay@gone.example', 'failed', 550, '5.1.2'],
      ['gus@[192.0.2.1]', 'failed', 550, '5.1.2'],
    ],
  )
  t.same(said('127.0.0.2').slice(1), [`RCPT TO:<${bo}>`, 'RCPT TO:<di@EXAMPLE.org>'])
  const failed = results.filter(({ recipient }) => recipient === 'cy@example.net')
  const words = bounceWords({ failed, organization: 'Acme', org: 'acme.example', nextHop: 'gw1' } as never)
  t.match(words, 'mx.example.net said: 550 5.7.1 not this', 'a bounce names the server that said it')
})

t.test('a server that is away, or has no time, is passed over for the next', async (t) => {
  const zone = {
    'example.org MX': ['10 away.example.org', '20 busy.example.org', '30 mx.example.org'],
    ...{ 'away.example.org A': ['127.0.0.4'], 'busy.example.org A': ['127.0.0.3'], 'mx.example.org A': ['127.0.0.2'] },
  }
  const busy: Script = { answer: (command) => (command.startsWith('RCPT') ? '451 4.3.2 later\r\n' : undefined) }
  const { courier, mails } = await open(t, { zone, servers: { '127.0.0.2': {}, '127.0.0.3': busy } })
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'sent', hop: 'mx.example.org' }])
  t.equal(mails('127.0.0.2'), 1)
})

t.test('nobody waits for a server that has just not answered, again and again', async (t) => {
  const silent = createServer((socket) => socket.on('error', () => undefined))
  const { courier, port, mails } = await open(t, { zone: one })
  silent.listen(port, '127.0.0.2')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const results = []
  const began = performance.now()
  for (let i = 0; i < 5; i++) results.push(...(await courier.deliver(deliveryOf([bo]))).results)
  t.same(new Set(results.map(({ outcome }) => outcome)), new Set(['deferred']))
  t.match(results.at(-1)?.text, 'mx.example.org did not answer a moment ago')
  t.ok(performance.now() - began < 4 * 3_000, 'two of them waited')
  t.equal(mails('127.0.0.2'), 0)
})

t.test('who may have it from one server does not get it from the next', async (t) => {
  const zone = {
    'example.org MX': ['10 a.example.org', '20 b.example.org'],
    ...{ 'a.example.org A': ['127.0.0.2'], 'b.example.org A': ['127.0.0.3'] },
  }
  const losing: Script = {
    answer: (command) => (command.includes('late@') ? '450 4.2.1 greylisted\r\n' : undefined),
    content: () => null,
  }
  const { courier, said } = await open(t, { zone, servers: { '127.0.0.2': losing, '127.0.0.3': {} } })
  const { results } = await courier.deliver(deliveryOf([bo, 'late@example.org']))
  t.same(
    results.map(({ outcome }) => outcome),
    ['unknown', 'sent'],
  )
  t.same(said('127.0.0.3').slice(1), ['RCPT TO:<late@example.org>'])
})

t.test('a domain without MX is its own server', async (t) => {
  const { courier, mails } = await open(t, { zone: { 'example.org A': ['127.0.0.2'] }, servers: { '127.0.0.2': {} } })
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'sent' }])
  t.equal(mails('127.0.0.2'), 1)
})

t.test('while DNS does not answer, mail waits', async (t) => {
  const { courier, dns } = await open(t, { zone: one, servers: { '127.0.0.2': {} } })
  dns.broken.add('example.org')
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'deferred', enhanced: '4.4.3' }])
  dns.broken.clear()
  dns.broken.add('mx.example.org')
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'deferred', enhanced: '4.4.3' }])
})

t.test('a domain without MX whose address DNS does not tell just now is not given up', async (t) => {
  const { courier, dns } = await open(t, { zone: { 'example.org A': ['127.0.0.2'] }, servers: { '127.0.0.2': {} } })
  dns.broken.add('example.org A')
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'deferred', enhanced: '4.4.3' }])
  dns.broken.clear()
  dns.broken.add('example.org AAAA')
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'sent' }], 'nobody needs an AAAA')
})

t.test("a stranger's DNS does not lead us to this machine", async (t) => {
  const zone = {
    'example.org MX': ['10 mx.example.org'],
    'mx.example.org A': ['127.0.0.2', '0.0.0.0', '169.254.1.1'],
    'mx.example.org AAAA': ['::1', '::ffff:127.0.0.2', 'fe80::1'],
  }
  const { courier, hops } = await open(t, { zone, servers: { '127.0.0.2': {} } }, { here: false })
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'deferred', enhanced: '4.4.4' }])
  t.equal(hops['127.0.0.2']?.connections(), 0)
})

t.test('without a promise TLS is used where it is offered, and nothing is asked of it', async (t) => {
  const { courier, mails } = await open(t, { zone: one, servers: { '127.0.0.2': { ...secure, tls: other } } })
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'sent' }])
  t.equal(mails('127.0.0.2'), 1)
})

const withSts = { ...one, '_mta-sts.example.org TXT': ['v=STSv1; id=20260101'] }

t.test('an enforced MTA-STS policy: verified TLS with a server that it names, or no mail', async (t) => {
  const cases = [
    ['the right certificate', secure, sts('enforce', ['mx.example.org']), 'sent'],
    ['a pattern', secure, sts('enforce', ['*.example.org']), 'sent'],
    ['another certificate', { ...secure, tls: other }, sts('enforce', ['mx.example.org']), 'deferred'],
    ['no TLS', { ehlo: ['SIZE'] }, sts('enforce', ['mx.example.org']), 'deferred'],
    ['another server', secure, sts('enforce', ['mx.example.net']), 'deferred'],
    ['only tested', { ehlo: ['SIZE'] }, sts('testing', ['mx.example.net']), 'sent'],
  ] as const
  for (const [what, script, policy, outcome] of cases) {
    await t.test(what, async (t) => {
      const world = { zone: withSts, servers: { '127.0.0.2': script } }
      const { courier, said } = await open(t, world, {}, { 'example.org': policy })
      t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome }])
      t.equal(said('127.0.0.2').length > 0, outcome === 'sent', 'not even the addresses are said')
    })
  }
})

t.test('who takes the MTA-STS record away is not believed while the policy lasts', async (t) => {
  const policy = sts('enforce', ['mx.example.org'])
  const world = { zone: one, servers: { '127.0.0.2': { ehlo: ['SIZE'] } } }
  const { courier, file } = await open(t, world, {}, { 'example.org': policy })
  t.match((await courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'deferred' }])
  t.match(JSON.parse(readFileSync(file, 'utf8')), { 'example.org': { mode: 'enforce' } })
  const past = { ...policy, expires: new Date(Date.now() - 1000).toISOString() }
  const later = await open(t, world, {}, { 'example.org': past })
  t.match((await later.courier.deliver(deliveryOf([bo]))).results, [{ outcome: 'sent' }], 'and not for longer')
})

const spki = new X509Certificate(certificate.cert).publicKey.export({ type: 'spki', format: 'der' })
const record = `3 1 1 ${createHash('sha256').update(spki).digest('hex')}`

t.test('DANE: what the TLSA record announces, or no mail, where DNSSEC is validated', async (t) => {
  const open1 = async (
    t: Test,
    script: Script,
    tlsa: readonly string[],
    more: Partial<MxConfig> = { validating: true },
  ) => {
    const found = await open(t, { zone: { ...one }, servers: { '127.0.0.2': script } }, { ca: null, ...more })
    found.dns.zone[`_${found.port}._tcp.mx.example.org TLSA`] = tlsa
    found.dns.signed.add('example.org')
    return found
  }
  const outcomeOf = async ({ courier }: Awaited<ReturnType<typeof open>>) =>
    (await courier.deliver(deliveryOf([bo]))).results[0]?.outcome

  t.equal(await outcomeOf(await open1(t, secure, [record])), 'sent')
  t.equal(await outcomeOf(await open1(t, { ...secure, tls: other }, [record])), 'deferred', 'another certificate')
  t.equal(await outcomeOf(await open1(t, { ehlo: ['SIZE'] }, [record])), 'deferred', 'STARTTLS taken away')
  t.equal(
    await outcomeOf(await open1(t, { ehlo: ['SIZE'] }, ['1 1 1 00'])),
    'deferred',
    'unusable records still mean TLS',
  )
  t.equal(await outcomeOf(await open1(t, { ...secure, tls: other }, ['1 1 1 00'])), 'sent', 'with any certificate')
  const failing = await open1(t, secure, [record])
  failing.dns.broken.add(`_${failing.port}._tcp.mx.example.org`)
  t.equal(await outcomeOf(failing), 'deferred', 'a TLSA answer that cannot be had is not "none"')
  const unsigned = await open1(t, { ...secure, tls: other }, [record])
  unsigned.dns.signed.clear()
  t.equal(await outcomeOf(unsigned), 'sent', 'records that nobody signed bind nobody')
  t.equal(await outcomeOf(await open1(t, { ...secure, tls: other }, [record], { validating: false })), 'sent')
})

t.test('a mail that demands TLS goes to servers that promise it, and is refused elsewhere', async (t) => {
  const demanding = deliveryOf([bo], { tls: 'next-hop' })
  const remembered = { 'example.org': sts('enforce', ['mx.example.org']) }
  const promised = await open(t, { zone: withSts, servers: { '127.0.0.2': secure } }, {}, remembered)
  t.match((await promised.courier.deliver(demanding)).results, [{ outcome: 'sent' }])
  t.match((await promised.courier.deliver({ ...demanding, tls: 'recipient' })).results, [{ outcome: 'sent' }])
  t.notMatch(promised.said('127.0.0.2').join(), 'REQUIRETLS', 'no hop comes after it')
  const plain = await open(t, { zone: one, servers: { '127.0.0.2': secure } })
  t.match((await plain.courier.deliver(demanding)).results, [{ outcome: 'failed', code: 550, enhanced: '5.7.4' }])
  const wishes = { ret: null, envid: null, requireTls: true, of: new Map() }
  t.match((await plain.courier.deliver(deliveryOf([bo], { wishes }))).results, [
    { outcome: 'failed', enhanced: '5.7.30' },
  ])
  t.equal(plain.hops['127.0.0.2']?.connections(), 0)
  plain.dns.broken.add('mx.example.org')
  t.match((await plain.courier.deliver(demanding)).results, [{ outcome: 'deferred' }], 'a passing fault is not a no')
})

t.test('a mail that breaks off towards one domain does not make the other undelivered', async (t) => {
  const zone = { ...one, 'example.net MX': ['10 mx.example.net'], 'mx.example.net A': ['127.0.0.3'] }
  const { courier } = await open(t, { zone, servers: { '127.0.0.2': {}, '127.0.0.3': {} } })
  let opened = 0
  const whole = mailOf('Subject: x\r\n\r\nhello\r\n')
  const mail = {
    ...whole,
    async *open() {
      if (++opened === 2) {
        await sleep(300)
        throw new Error('the file is gone')
      }
      yield* whole.open()
    },
  }
  const { results } = await courier.deliver(deliveryOf([bo, 'cy@example.net'], { mail }))
  t.same(results.map(({ outcome }) => outcome).toSorted(), ['deferred', 'sent'])
})

t.test('our stamp, which holds a secret, goes to nobody but our own domains', async (t) => {
  const zone = { ...one, 'acme.example MX': ['10 mx.acme.example'], 'mx.acme.example A': ['127.0.0.3'] }
  const { courier, hops } = await open(t, { zone, servers: { '127.0.0.2': {}, '127.0.0.3': {} } })
  const stamp = 'Sealpost-Handled: v=1;\r\n org=acme.example; s=secret-of-the-loop\r\n'
  const [before, after] = ['Received: by us\r\n', 'Subject: x\r\n\r\nSealpost-Handled: in the text it stays\r\n']
  const octets = Buffer.from(before + stamp + after)
  for (const size of [1, 7, octets.length]) {
    const chunks = Array.from({ length: Math.ceil(octets.length / size) }, (_, i) =>
      octets.subarray(i * size, (i + 1) * size),
    )
    await courier.deliver(deliveryOf([bo, 'anna@acme.example'], { mail: mailOf(chunks) }))
    t.equal(hops['127.0.0.2']?.contents.at(-1), `${before}${after}.\r\n`, 'octet for octet otherwise')
    t.equal(hops['127.0.0.3']?.contents.at(-1), `${before}${stamp}${after}.\r\n`)
  }
})

t.test('a connection serves the next mail, and none is kept for ever', async (t) => {
  const { courier, hops } = await open(t, { zone: one, servers: { '127.0.0.2': {} } })
  for (let i = 0; i < 3; i++) await courier.deliver(deliveryOf([bo]))
  t.equal(hops['127.0.0.2']?.connections(), 1)
  await courier.close()
  for (let i = 0; i < 50 && !hops['127.0.0.2']?.commands.includes('QUIT'); i++) await sleep(20)
  t.ok(hops['127.0.0.2']?.commands.includes('QUIT'))
})

t.test('a sender who wants to hear of success hears it from one side only', async (t) => {
  const telling = await open(t, { zone: one, servers: { '127.0.0.2': { ehlo: ['DSN'] } } })
  t.match((await telling.courier.deliver(deliveryOf([bo]))).results, [{ dsn: true }])
  const silent = await open(t, { zone: one, servers: { '127.0.0.2': {} } })
  t.notOk('dsn' in ((await silent.courier.deliver(deliveryOf([bo]))).results[0] ?? {}))
})
