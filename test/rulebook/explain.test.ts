import t from 'tap'
import { explainOutbound } from '../../rulebook/index.ts'
import { mail, policyOf } from './policy-file.ts'

t.test('each rule is told with its parts, what they saw, and which one decided', async (t) => {
  const policy = policyOf({
    outbound: [
      '{ name: a, when: "message.report && recipient.domain == \'example.org\'", then: pass }',
      "{ name: b, when: \"message.tags.exists(t, t == 'x') || 'x-class' in message.headers\", then: seal }",
      '{ name: c, when: message.size / message.ttlWish == 7, then: pass }',
    ],
  })
  const { verdict, rules } = explainOutbound(policy, mail({ subject: '[x] y', headers: { 'X-Class': 'a' } }))
  t.match(verdict, { kind: 'seal', rule: 'b' })
  t.same(
    rules.map(({ name, outcome, decides }) => [name, typeof outcome === 'boolean' ? outcome : 'error', decides]),
    [
      ['a', false, false],
      ['b', true, true],
      ['c', 'error', false],
    ],
  )
  t.same(rules[0]?.parts, [
    { text: 'message.report', outcome: false, saw: [{ name: 'message.report', value: 'false' }] },
    {
      text: 'recipient.domain == "example.org"',
      outcome: true,
      saw: [{ name: 'recipient.domain', value: '"example.org"' }],
    },
  ])
  t.same(
    rules[1]?.parts.map(({ text }) => text),
    ['message.tags.exists(t, t == "x")', '"x-class" in message.headers'],
  )
  t.same(rules[1]?.parts[0]?.saw, [{ name: 'message.tags', value: '["x"]' }])
  t.same(rules[1]?.parts[1]?.saw, [{ name: 'message.headers', value: '["subject","x-class"]' }], 'names, no values')
})

t.test('long values are cut', async (t) => {
  const policy = policyOf({ outbound: ["{ name: a, when: message.subject == 'x', then: pass }"] })
  const { rules } = explainOutbound(policy, mail({ subject: 'y'.repeat(5000) }))
  t.equal(rules[0]?.parts[0]?.saw[0]?.value.length, 200)
})

t.test('nothing that a hostile mail says reaches a terminal as an order', async (t) => {
  const policy = policyOf({ outbound: ["{ name: a, when: message.subject == 'x', then: pass }"] })
  const { rules } = explainOutbound(policy, mail({ subject: '\u001b[2J \u009b2J \u202egpj.exe' }))
  t.equal(rules[0]?.parts[0]?.saw[0]?.value, '"\\u001b[2J \\u{9b}2J \\u{202e}gpj.exe"')
})
