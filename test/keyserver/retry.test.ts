import t from 'tap'
import { judgeOutcome } from '../../keyserver/outcome.ts'
import { isHeld, judgeRetry } from '../../keyserver/retry.ts'
import type { Envelope, Recipient } from '../../keyserver/store.ts'
import { bob, newEnvelope } from './store-contract.ts'

const NOW = 50_000
const me = { gateway: 'gw1', instance: 'today' }
const mine = { ...me, until: NOW + 1 }
const earlier = { gateway: 'gw1', instance: 'yesterday', until: NOW + 1 }
const theirs = { gateway: 'gw2', instance: 'x', until: NOW + 1 }

const living: Envelope = { ...newEnvelope(), confirmedAt: 1_500, revokedAt: null, shreddedAt: null }
const copy: Recipient = { envelope: living.id, org: living.org, address: bob, state: 'open', doubt: false, lease: null }
const found = (recipient: Partial<Recipient> = {}, envelope: Partial<Envelope> = {}) => ({
  recipient: { ...copy, ...recipient },
  envelope: { ...living, ...envelope },
})

const retries: readonly (readonly [string, ReturnType<typeof found> | null, string])[] = [
  ['nothing is known: a new envelope', null, 'new'],
  ['not sent: the same envelope again', found(), 'again'],
  ['unknown, nobody at it: again', found({ state: 'unknown' }), 'again'],
  ['sent: done', found({ state: 'sent' }), 'done'],
  ['failed: done', found({ state: 'failed' }), 'done'],
  ['sent and expired since: done all the same', found({ state: 'sent' }, { shreddedAt: 1 }), 'done'],
  ['another gateway is at it: busy', found({ state: 'unknown', lease: theirs }), 'busy'],
  ['this instance is at it: busy', found({ state: 'unknown', lease: mine }), 'busy'],
  ['this gateway was at it before it started anew: again', found({ state: 'unknown', lease: earlier }), 'again'],
  ['another was at it, a minute ago: again', found({ state: 'unknown', lease: { ...theirs, until: NOW } }), 'again'],
  [
    'busy and revoked: busy, so that nothing is said that may change',
    found({ lease: theirs }, { revokedAt: 1 }),
    'busy',
  ],
  ['revoked: no other takes its place', found({}, { revokedAt: 1 }), 'revoked'],
  ['expired before it was sent: a new one', found({}, { expiresAt: NOW }), 'new'],
  ['never confirmed in time: a new one', found({}, { confirmedAt: null, confirmBy: NOW }), 'new'],
  ['not confirmed yet: again', found({}, { confirmedAt: null, confirmBy: NOW + 1 }), 'again'],
  ['shredded: a new one', found({}, { shreddedAt: 1 }), 'new'],
  ['passed before, to be sealed today: a new one', found({}, { kind: 'pass' }), 'new'],
]
for (const [name, one, expected] of retries) {
  t.test(`issue again: ${name}`, async (t) => {
    t.equal(judgeRetry(one, 'seal', me, NOW).kind, expected)
  })
}

const outcomes: readonly (readonly [
  Partial<Recipient>,
  Parameters<typeof judgeOutcome>[1],
  Recipient['state'] | null,
])[] = [
  [{ state: 'unknown', lease: mine }, 'sent', 'sent'],
  [{ state: 'unknown', lease: mine }, 'deferred', 'open'],
  [{ state: 'unknown', lease: mine }, 'failed', 'failed'],
  [{ state: 'unknown', lease: mine }, 'unknown', 'unknown'],
  [{ state: 'sent' }, 'deferred', null],
  [{ state: 'sent' }, 'failed', null],
  [{ state: 'failed' }, 'deferred', null],
  [{ state: 'failed' }, 'sent', 'sent'],
  [{ state: 'unknown', lease: theirs }, 'deferred', null],
  [{ state: 'unknown', lease: theirs }, 'failed', null],
  [{ state: 'unknown', lease: theirs }, 'sent', 'sent'],
]
for (const [recipient, outcome, expected] of outcomes) {
  const holder = recipient.lease === undefined || recipient.lease === null ? 'nobody' : recipient.lease.gateway
  t.test(
    `outcome ${outcome} for a copy that is ${recipient.state}, held by ${holder}: ${expected ?? 'as it was'}`,
    async (t) => {
      t.equal(judgeOutcome({ ...copy, ...recipient }, outcome, me, NOW), expected)
    },
  )
}

t.test('a lease holds to the millisecond', async (t) => {
  t.ok(isHeld({ ...theirs, until: NOW + 1 }, me, NOW))
  t.notOk(isHeld({ ...theirs, until: NOW }, me, NOW))
  t.notOk(isHeld(null, me, NOW))
})
