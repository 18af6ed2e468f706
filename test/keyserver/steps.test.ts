import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { StepsResult } from '../../protocol/gateway-api.ts'
import { acme, known, onlyEnvelope, openPremises, sealed, sealing } from './premises.ts'

t.test('issues, confirmations and outcomes share a call, each answered in its own order', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const gw1 = premises.client('gw1')
  const bob = ['bob@example.org']
  const first = onlyEnvelope(await gw1.issue(sealing(premises, bob)))
  const second = onlyEnvelope(await gw1.issue(sealing(premises, bob)))
  await gw1.bulk('/v1/confirm', [sealed(first.id, bob)])
  const { status, body } = await gw1.post('/v1/steps', {
    instance: gw1.instance,
    issue: [sealing(premises, bob), { ...sealing(premises, bob), policyHash: 'f'.repeat(64) }],
    confirm: [sealed(second.id, bob), sealed(randomBytes(16).toString('base64url') as typeof first.id, bob)],
    outcome: [{ org: acme, id: first.id, recipient: 'bob@example.org', outcome: 'sent', reply: '250 ok' }],
  })
  t.equal(status, 200)
  const { issue, confirm, outcome } = body as StepsResult
  t.match(issue, [{ kind: 'issued' }, { kind: 'refused', code: 'policy-not-active' }])
  t.match(confirm, [{ kind: 'confirmed' }, { kind: 'refused', code: 'not-found' }])
  t.match(outcome, [{ kind: 'recorded' }])
  const none = await gw1.post('/v1/steps', { instance: gw1.instance })
  t.match(none, { status: 200, body: { issue: [], confirm: [], outcome: [] } })
})

t.test('while the clock is behind nothing is issued, and outcomes in the same call are taken', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const gw1 = premises.client('gw1')
  const bob = ['bob@example.org']
  const { id } = onlyEnvelope(await gw1.issue(sealing(premises, bob)))
  await gw1.bulk('/v1/confirm', [sealed(id, bob)])
  premises.shift(-3_600_000)
  const sent = { org: acme, id, recipient: 'bob@example.org', outcome: 'sent', reply: '250 ok' }
  const mixed = await gw1.post('/v1/steps', {
    instance: gw1.instance,
    issue: [sealing(premises, bob)],
    confirm: [sealed(id, bob)],
    outcome: [sent],
  })
  t.equal(mixed.status, 200)
  const { issue, confirm, outcome } = mixed.body as StepsResult
  t.match([...issue, ...confirm], [{ code: 'unavailable' }, { code: 'unavailable' }])
  t.equal(known(outcome[0]).kind, 'recorded')
  const alone = await gw1.post('/v1/steps', { instance: gw1.instance, issue: [sealing(premises, bob)] })
  t.match(
    alone,
    { status: 503, body: { code: 'unavailable' } },
    'a call of which nothing can be done is refused as a whole',
  )
})
