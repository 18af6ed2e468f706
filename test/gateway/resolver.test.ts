import { encode } from 'dns-packet'
import t, { type Test } from 'tap'
import { dnsServerOf } from '../../gateway/dns-server.ts'
import { createResolver, type ResolverOptions } from '../../gateway/resolver.ts'
import { startNameServer, type Zone } from './name-server.ts'

async function asking(t: Test, zone: Zone, options: Partial<ResolverOptions> = {}) {
  const dns = await startNameServer(t, zone)
  const resolver = createResolver({ servers: [dns.server], validating: false, timeoutMs: 500, ...options })
  return { dns, resolver }
}

t.test('each kind of record is read', async (t) => {
  const long = 'v=STSv1; id=1; x='.padEnd(450, 'y')
  const { resolver } = await asking(t, {
    'example.org MX': ['10 MX.example.org', '0 .'],
    'mx.example.org A': ['192.0.2.1', '192.0.2.2'],
    'mx.example.org AAAA': ['2001:db8::1'],
    '_mta-sts.example.org TXT': [long],
    '_25._tcp.mx.example.org TLSA': ['3 1 1 aabb'],
  })
  t.same((await resolver.mx('Example.org.')).values, [
    { preference: 10, exchange: 'mx.example.org' },
    { preference: 0, exchange: '' },
  ])
  t.same((await resolver.addresses('mx.example.org')).values, ['192.0.2.1', '192.0.2.2', '2001:db8::1'])
  t.same((await resolver.txt('_mta-sts.example.org')).values, [long], 'strings are joined')
  const { values } = await resolver.tlsa('_25._tcp.mx.example.org')
  t.match(values, [{ usage: 3, selector: 1, matchingType: 1, data: Buffer.from('aabb', 'hex') }])
})

t.test('no record, and no such name, are told apart', async (t) => {
  const { resolver } = await asking(t, { 'example.org A': ['192.0.2.1'] })
  t.match(await resolver.mx('example.org'), { values: [], exists: true })
  t.match(await resolver.mx('nowhere.example'), { values: [], exists: false })
})

t.test('aliases are followed, and not for ever', async (t) => {
  const { resolver } = await asking(t, {
    'a.example CNAME': ['b.example'],
    'b.example CNAME': ['c.example'],
    'c.example A': ['192.0.2.1'],
    'round.example CNAME': ['turn.example'],
    'turn.example CNAME': ['round.example'],
  })
  t.match(await resolver.addresses('a.example'), { values: ['192.0.2.1'], canonical: 'c.example' })
  await t.rejects(resolver.addresses('round.example'), { message: /too many aliases/ })
})

t.test('a name that no host bears is not taken for one', async (t) => {
  const evil = 'mx.evil.example\r\nBcc:victim.example'
  const { resolver } = await asking(t, {
    'example.org MX': [`10 ${evil.replace(' ', '')}`, '20 mx.example.org', '30 -x.example'],
    'odd.example CNAME': ['a b.example'],
  })
  t.same((await resolver.mx('example.org')).values, [
    { preference: 10, exchange: 'unusable.invalid' },
    { preference: 20, exchange: 'mx.example.org' },
    { preference: 30, exchange: 'unusable.invalid' },
  ])
  await t.rejects(resolver.mx('odd.example'), { name: 'DnsFault', message: /no host name/ })
})

t.test('an answer too large for UDP is fetched by TCP', async (t) => {
  const { dns, resolver } = await asking(t, { 'big.example MX': ['10 mx.big.example'] })
  dns.large.add('big.example')
  t.equal((await resolver.mx('big.example')).values.length, 1)
  t.equal(dns.asked.length, 2)
})

t.test('what fails at one server is asked of the next, and a failure is not "no record"', async (t) => {
  const broken = await startNameServer(t, { 'example.org MX': ['10 wrong.example'] })
  broken.broken.add('example.org')
  const good = await startNameServer(t, { 'example.org MX': ['10 mx.example.org'] })
  const both = createResolver({ servers: [broken.server, good.server], validating: false, timeoutMs: 500 })
  t.equal((await both.mx('example.org')).values[0]?.exchange, 'mx.example.org')
  const only = createResolver({ servers: [broken.server], validating: false, timeoutMs: 500 })
  await t.rejects(only.mx('example.org'), { name: 'DnsFault', message: /SERVFAIL/ })
  const nobody = createResolver({ servers: [{ address: '127.0.0.1', port: 1 }], validating: false, timeoutMs: 200 })
  await t.rejects(nobody.mx('example.org'), { name: 'DnsFault' })
  await t.rejects(both.mx('a..b'), { name: 'DnsFault', message: /no name that DNS knows/ })
})

t.test('octets that are no answer to the question count for nothing', async (t) => {
  const { dns, resolver } = await asking(t, { 'example.org MX': ['10 mx.example.org'] })
  const evil = [{ type: 'MX', name: 'example.org', data: { preference: 1, exchange: 'evil.example' } } as const]
  const forgeries: (typeof dns.forged)[] = [
    () => Buffer.from('not DNS at all'),
    (question, id) => encode({ type: 'response', id: (id + 1) % 65_536, questions: [question], answers: evil }),
    (question, id) =>
      encode({ type: 'response', id, questions: [{ ...question, name: 'other.example' }], answers: evil }),
    (question, id) => encode({ type: 'query', id, questions: [question], answers: evil }),
  ]
  for (const forged of forgeries) {
    dns.forged = forged
    t.equal((await resolver.mx('example.org')).values[0]?.exchange, 'mx.example.org')
  }
  dns.forged = (question, id) =>
    encode({
      ...{ type: 'response', id, questions: [question] },
      answers: [{ type: 'MX', name: 'elsewhere.example', data: { preference: 1, exchange: 'evil.example' } }],
    })
  t.same((await resolver.mx('example.org')).values, [], 'nor do records of another name')
})

t.test('an answer is secure only where a validating resolver is trusted and says so', async (t) => {
  const zone = { 'example.org MX': ['10 mx.example.org'], 'mx.example.org A': ['192.0.2.1'] }
  const trusted = await asking(t, zone, { validating: true })
  t.equal((await trusted.resolver.mx('example.org')).secure, false)
  trusted.dns.signed.add('example.org')
  t.equal((await trusted.resolver.mx('example.org')).secure, true)
  t.equal((await trusted.resolver.addresses('mx.example.org')).secure, true, 'that there is no AAAA as well')
  const plain = await asking(t, zone)
  plain.dns.signed.add('example.org')
  t.equal((await plain.resolver.mx('example.org')).secure, false, 'a bit of a server that nobody trusts')
})

t.test('servers are named by address, and port', (t) => {
  t.same(dnsServerOf('192.0.2.53'), { address: '192.0.2.53', port: 53 })
  t.same(dnsServerOf('127.0.0.1:5353'), { address: '127.0.0.1', port: 5353 })
  t.same(dnsServerOf('2001:db8::53'), { address: '2001:db8::53', port: 53 })
  t.same(dnsServerOf('[2001:db8::53]:5353'), { address: '2001:db8::53', port: 5353 })
  for (const text of ['', 'dns.example', 'dns.example:53', '192.0.2.53:0', '192.0.2.53:70000', '[192.0.2.53]:53']) {
    t.equal(dnsServerOf(text), null, text)
  }
  t.end()
})
