import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { acme, known, openPremises, POLICY, type Premises } from './premises.ts'

const file = (premises: Premises) => join(premises.folder, 'policies', 'acme.example.yaml')
const active = (premises: Premises) => known(premises.server.parts.policies.active(acme))

async function until(holds: () => boolean): Promise<void> {
  const end = Date.now() + 15_000
  while (!holds()) {
    if (Date.now() > end) throw new Error('it did not come to be')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

t.test('a changed file comes into force by itself; a faulty one does not, and health says why', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const { policies } = premises.server.parts
  const first = active(premises)
  t.equal(first.capSeconds, 30 * 86_400)
  writeFileSync(file(premises), POLICY(acme).replace('cap: 30d', 'cap: 60d'))
  await until(() => active(premises).hash !== first.hash)
  const second = active(premises)
  t.equal(second.capSeconds, 60 * 86_400)

  writeFileSync(file(premises), POLICY(acme).replace('default: seal', 'default: shrug'))
  await until(() => policies.fault(acme) !== null)
  t.equal(active(premises).hash, second.hash)
  t.match(policies.fault(acme), /the last good one stays in force: line \d+, column \d+/)
  const ready = await fetch(`${premises.server.addresses.ops}/health/ready`)
  t.equal(ready.status, 200, 'degraded is ready')
  t.match(await ready.json(), { status: 'degraded' })

  await premises.restart()
  t.equal(active(premises).hash, second.hash, 'the last good one comes from the database')
  writeFileSync(file(premises), POLICY(acme))
  await until(() => active(premises).hash === first.hash)
  await until(() => premises.server.parts.policies.fault(acme) === null)
})

t.test('a rule asks for the TLS of recipients only where configuration says that it can be known', async (t) => {
  const asking = POLICY(acme).replace(
    'outbound: []',
    `outbound: [{ name: safe, when: "recipient.tls == 'verified'", then: pass }]`,
  )
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const { hash } = active(premises)
  const { policies } = premises.server.parts
  writeFileSync(file(premises), asking)
  await until(() => policies.fault(acme) !== null)
  t.equal(active(premises).hash, hash)
  t.match(policies.fault(acme), /'recipient\.tls' cannot be known.*; write recipient\.domain in/)
  const knowing = await openPremises(t.testdir(), { policy: asking, recipientTls: true })
  t.teardown(() => knowing.close())
  t.not(knowing.server.parts.policies.active(acme), null)
})

t.test('a policy cannot claim a domain that the configuration gives to another organization', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const { hash } = active(premises)
  const claim = (domain: string) =>
    POLICY(acme).replace('domains: [acme.example]', `domains: [acme.example, ${domain}]`)
  writeFileSync(file(premises), claim('other.example'))
  await until(() => premises.server.parts.policies.fault(acme) !== null)
  t.match(premises.server.parts.policies.fault(acme), /other\.example belongs to other\.example/)
  t.equal(active(premises).hash, hash, 'the last good one stays in force')
  writeFileSync(file(premises), claim('acme.example.net'))
  await until(() => premises.server.parts.policies.fault(acme) === null)
  t.strictSame(active(premises).domains, ['acme.example', 'acme.example.net'], 'one that is nobody else’s it can')
})

t.test('a file that is gone, or another organization’s, leaves what is in force', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const { hash } = active(premises)
  const { policies } = premises.server.parts
  writeFileSync(file(premises), POLICY('other.example'))
  await until(() => policies.fault(acme) !== null)
  t.match(policies.fault(acme), /name the file after its organization/)
  rmSync(file(premises))
  await until(() => /missing/.test(policies.fault(acme) ?? ''))
  t.equal(active(premises).hash, hash)
})

t.test('with no good policy ever, nothing is issued, and gateways hear that there is none', async (t) => {
  const premises = await openPremises(t.testdir(), { policy: 'version: 9\n' })
  t.teardown(() => premises.close())
  t.equal(premises.server.parts.policies.active(acme), null)
  t.match(await premises.client('gw1').get(`/v1/policies/${acme}`), { status: 404 })
})

t.test('health and metrics tell how it is, and only on their own listener', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const { ops, public: open } = premises.server.addresses
  t.match(await (await fetch(`${ops}/health/live`)).json(), { status: 'alive' })
  const ready = (await (await fetch(`${ops}/health/ready`)).json()) as { status: string; parts: { part: string }[] }
  t.strictSame(
    ready.parts.map(({ part }) => part),
    ['database', 'keys', 'disk', 'key store disk', 'log', 'clock', 'policy acme.example', 'policy other.example'],
  )
  t.match(await (await fetch(`${ops}/metrics`)).text(), /^sealpost_issued_total/m)
  t.equal((await fetch(`${open}/metrics`)).status, 404)
  rmSync(premises.config.kek.file)
  const down = await fetch(`${ops}/health/ready`)
  t.equal(down.status, 503)
  t.match(await down.text(), /organization\.key is gone/)
})

t.test('a route without authorisation fails the start', async (t) => {
  const { default: Fastify } = await import('fastify')
  const { requireAuthorisation } = await import('../../keyserver/authorisation.ts')
  const app = Fastify()
  requireAuthorisation(app, ['gateway'])
  t.throws(() => app.get('/v1/back-door', async () => 'hello'), /declares no authorisation/)
  t.throws(() => app.get('/x', { config: { auth: 'open' } }, async () => 'hello'), /declares "open"/)
})
