import t from 'tap'
import { findMxHosts } from '../../gateway/mx-hosts.ts'
import type { Exchange, Records } from '../../gateway/resolver.ts'

const records = <Value>(values: readonly Value[], more: Partial<Records<Value>> = {}): Records<Value> => {
  return { values, exists: true, secure: false, canonical: 'example.org', ...more }
}

function find(mx: Records<Exchange>, addresses: readonly string[] = [], random = () => 0.5) {
  const resolver = { mx: async () => mx, addresses: async () => records(addresses) }
  return findMxHosts(resolver, 'example.org', 'GW1.acme.example', random)
}

const at = (...list: readonly [number, string][]) =>
  records(list.map(([preference, exchange]) => ({ preference, exchange })))

t.test('the best exchanger comes first, and those of one preference in turn', async (t) => {
  const mx = at([20, 'c.example'], [10, 'a.example'], [10, 'b.example'], [10, 'a.example'])
  const lots = [0.9, 0.2, 0.7, 0.3]
  t.match(await find(mx, [], () => lots.shift() ?? 0), { names: ['a.example', 'b.example', 'c.example'] })
  const other = [0.9, 0.7, 0.2, 0.8]
  t.match(await find(mx, [], () => other.shift() ?? 0), { names: ['b.example', 'a.example', 'c.example'] })
})

t.test('without MX the domain is its own host, if it has an address', async (t) => {
  t.match(await find(at(), ['192.0.2.1']), { kind: 'hosts', names: ['example.org'] })
  t.match(await find(at()), { kind: 'none', code: 550, enhanced: '5.1.2' })
})

t.test('a domain that does not exist, or takes no mail, is refused for good', async (t) => {
  t.match(await find(records<Exchange>([], { exists: false })), { kind: 'none', code: 550, enhanced: '5.1.2' })
  t.match(await find(at([0, ''])), { kind: 'none', code: 556, enhanced: '5.1.10' })
  t.match(await find(at([0, ''], [10, 'a.example'])), { names: ['a.example'] }, 'a null MX beside others is none')
})

t.test('mail never goes to ourselves, nor to those behind us', async (t) => {
  const mx = at([30, 'later.example'], [20, 'gw1.acme.example'], [20, 'beside.example'], [10, 'better.example'])
  t.match(await find(mx), { names: ['better.example'] })
  t.match(await find(at([10, 'gw1.acme.example'], [20, 'later.example'])), {
    kind: 'none',
    code: 554,
    enhanced: '5.4.6',
  })
})

t.test('a domain with hundreds of exchangers keeps nobody busy', async (t) => {
  const many = at(...Array.from({ length: 400 }, (_, index) => [index, `mx${index}.example`] as [number, string]))
  const found = await find(many)
  t.equal(found.kind === 'hosts' && found.names.length, 10)
})
