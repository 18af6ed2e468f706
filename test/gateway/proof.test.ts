import t from 'tap'
import { parseHeader } from '../../gateway/header.ts'
import { type ProofRule, proveClient, proveMessage, proveSender } from '../../gateway/proof.ts'
import { type Address, parseAddress } from '../../protocol/identifiers.ts'
import { org, other, ranges } from './open-listener.ts'

const client = { address: '192.0.2.7', account: null }
const domainsOf = (id: string) => (id === org ? ['acme.example', 'acme.test'] : ['other.example'])
const address = (text: string): Address => {
  const parsed = parseAddress(text)
  if (parsed === null) throw new Error(text)
  return parsed
}
const header = (text: string) => {
  const parsed = parseHeader(Buffer.from(`${text}\r\n\r\n`))
  if (parsed === null) throw new Error(text)
  return parsed
}
const range = (id: typeof org, ...list: string[]): ProofRule => ({ kind: 'range', org: id, ranges: ranges(...list) })
const tenant = (id: typeof org, secret: string): ProofRule => ({
  ...{ kind: 'tenant', org: id, ranges: ranges('192.0.2.0/24'), secret },
})

t.test('without a rule that fits, nothing is proven', (t) => {
  const nothing = { proven: [], onSecret: [] }
  t.strictSame(proveClient([], client), nothing)
  t.strictSame(proveClient([range(org, '198.51.100.0/24', '2001:db8::/32')], client), nothing)
  t.match(proveSender(nothing, null, domainsOf), { kind: 'refused', code: 'not-proven' })
  t.match(proveSender(nothing, address('anna@acme.example'), domainsOf), { kind: 'refused', code: 'not-proven' })
  t.end()
})

t.test('addresses prove by range, IPv6 too', (t) => {
  t.strictSame(proveClient([range(org, '192.0.2.7')], client).proven, [org])
  t.strictSame(proveClient([range(org, '2001:db8::/32')], { ...client, address: '2001:db8:1::1' }).proven, [org])
  t.strictSame(proveClient([range(org, '2001:db8::/32')], { ...client, address: '2001:db9::1' }).proven, [])
  t.end()
})

t.test('an account is all that it proves, wherever it signs in', (t) => {
  const proof = proveClient([range(org, '192.0.2.0/24')], { ...client, account: { user: 'otto', org: other } })
  t.strictSame(proof, { proven: [other], onSecret: [] })
  t.end()
})

t.test('of several organizations MAIL FROM tells which', (t) => {
  const proof = proveClient([range(org, '192.0.2.0/24'), range(other, '192.0.2.0/24')], client)
  t.match(proveSender(proof, address('x@other.example'), domainsOf), { proof: { proven: [other] } })
  t.match(proveSender(proof, address('x@acme.test'), domainsOf), { proof: { proven: [org] } })
  t.match(proveSender(proof, address('x@third.example'), domainsOf), { kind: 'refused', code: 'foreign-sender' })
  const bounce = proveSender(proof, null, domainsOf)
  if (bounce.kind !== 'proven') return t.fail('MAIL FROM:<> is taken')
  t.match(proveMessage(bounce.proof, header('A: b')), { kind: 'refused', code: 'which-organization' })
  return t.end()
})

t.test('while a policy is not known the refusal is for now', (t) => {
  const proof = proveClient([range(org, '192.0.2.0/24')], client)
  t.match(
    proveSender(proof, address('anna@acme.example'), () => null),
    { kind: 'refused', code: 'policy' },
  )
  t.end()
})

t.test('while a tenant secret is changed, either proves the one organization', (t) => {
  const proof = proveClient([tenant(org, 'new secret'), tenant(org, 'old secret')], client)
  for (const secret of ['new secret', 'old secret'])
    t.match(proveMessage(proof, header(`Sealpost-Tenant: ${secret}`)), { kind: 'proven', org })
  t.match(proveMessage(proof, header('Sealpost-Tenant: no secret')), { kind: 'refused', code: 'tenant-secret' })
  t.end()
})

t.test('a tenant secret counts alone, whole, and for its own organization', (t) => {
  const proof = proveClient([tenant(org, 'one secret'), tenant(other, 'two secret')], client)
  t.strictSame(proof.proven, [])
  const told = (text: string) => proveMessage(proof, header(text))
  t.match(told('Sealpost-Tenant: one secret'), { kind: 'proven', org })
  t.match(told('SEALPOST-TENANT:two secret'), { kind: 'proven', org: other })
  t.match(told('X-Sealpost-Tenant: one secret'), { kind: 'proven', org }, 'as Google names it')
  for (const bad of [
    'A: b',
    'X-X-Sealpost-Tenant: one secret',
    'Sealpost-Tenant: one secret\r\nX-Sealpost-Tenant: one secret',
    'X-Sealpost-Tenant: one secret\r\nX-Sealpost-Tenant: two secret',
    'Sealpost-Tenant: one',
    'Sealpost-Tenant:',
    'Sealpost-Tenant: one secret\r\nSealpost-Tenant: two secret',
  ]) {
    t.match(told(bad), { kind: 'refused', code: 'tenant-secret' }, bad)
  }
  const narrowed = proveSender(proof, address('x@other.example'), domainsOf)
  if (narrowed.kind !== 'proven') return t.fail('MAIL FROM lies in one of them')
  t.match(
    proveMessage(narrowed.proof, header('Sealpost-Tenant: one secret')),
    { kind: 'refused' },
    'MAIL FROM of one, secret of the other',
  )
  return t.end()
})
