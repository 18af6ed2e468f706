import t from 'tap'
import { decideRelease, explainRelease } from '../../rulebook/index.ts'
import { open, policyOf } from './policy-file.ts'

const BROKEN = 'envelope.ageSeconds / (envelope.ageSeconds - 60) == 7'

t.test('an allow opens, a deny wins, and nothing allowed is denied', async (t) => {
  const policy = policyOf({
    release: [
      '{ name: recipients, when: "person.role == \'recipient\'", then: allow }',
      '{ name: network, when: "request.ip.startsWith(\'203.0.113.\')", then: deny, because: Not from there. }',
    ],
  })
  t.same(decideRelease(policy, open()), { kind: 'allow', rule: 'recipients' })
  t.same(decideRelease(policy, open({ ip: '203.0.113.7' })), {
    kind: 'deny',
    rule: 'network',
    because: 'Not from there.',
  })
  t.match(decideRelease(policy, open({ role: 'sender' })), { kind: 'deny', rule: 'default', because: /\w/ })
})

t.test('an error in a deny denies, an error in an allow allows nothing', async (t) => {
  const deny = policyOf({
    release: [
      '{ name: all, when: true, then: allow }',
      `{ name: broken, when: '${BROKEN}', then: deny, because: No. }`,
    ],
  })
  t.same(decideRelease(deny, open({ age: '1m' })), { kind: 'deny', rule: 'error-in:broken', because: 'No.' })
  t.match(decideRelease(deny, open({ age: '1h' })), { kind: 'allow' })
  const allow = policyOf({ release: [`{ name: broken, when: '${BROKEN} || person.internal == false', then: allow }`] })
  t.match(decideRelease(allow, open({ age: '1m' })), { kind: 'allow' }, 'an error that changes nothing is none')
  const only = policyOf({ release: [`{ name: broken, when: '${BROKEN}', then: allow }`] })
  t.match(decideRelease(only, open({ age: '1m' })), { kind: 'deny', rule: 'default' })
})

t.test('each condition sees its fact', async (t) => {
  const cases: [condition: string, given: Parameters<typeof open>[0]][] = [
    ["person.address == 'kai@example.net'", { person: 'kai@example.net' }],
    ["person.domain == 'example.net'", { person: 'kai@example.net' }],
    ['person.internal', { person: 'bert@acme.example' }],
    ["person.role == 'sender'", { role: 'sender' }],
    ["envelope.sender == 'anna@acme.example'", { sender: 'anna@acme.example' }],
    ['envelope.ageSeconds > 7 * 86400', { age: '8d' }],
    ['envelope.secondsLeft < 3600', { left: '59m' }],
    ["envelope.rule == 'secure'", { rule: 'secure' }],
    ["request.ip == '192.0.2.1'", { ip: '192.0.2.1' }],
    ["request.proof == 'code' && request.hour == 23", { hour: 23 }],
    ['request.weekday in [0, 6]', { weekday: 6 }],
  ]
  for (const [condition, given] of cases) {
    const policy = policyOf({ release: [`{ name: it, when: ${JSON.stringify(condition)}, then: allow }`] })
    t.match(decideRelease(policy, open(given)), { kind: 'allow', rule: 'it' }, condition)
    t.match(decideRelease(policy, open()), { kind: 'deny', rule: 'default' }, `${condition}: not an ordinary attempt`)
  }
})

t.test('the explanation says when time alone turns the verdict', async (t) => {
  const aged = policyOf({ release: ['{ name: fresh, when: envelope.ageSeconds < 3600, then: allow }'] })
  const explained = explainRelease(aged, open({ age: '30m' }))
  t.match(explained.verdict, { kind: 'allow' })
  t.match(explained.change, { afterSeconds: 1800, verdict: { kind: 'deny', rule: 'default' } })
  t.equal(explainRelease(aged, open({ age: '2h' })).change, null, 'older still')
  t.equal(explainRelease(aged, open({ age: '30m', left: '10m' })).change, null, 'expired before')
  const night = policyOf({
    release: [
      '{ name: all, when: true, then: allow }',
      '{ name: sunday, when: request.weekday == 0, then: deny, because: Not on Sundays. }',
    ],
  })
  const saturday = explainRelease(night, open({ weekday: 6, hour: 20 }))
  t.match(saturday.change, { afterSeconds: 4 * 3600, verdict: { kind: 'deny', rule: 'sunday' } })
})
