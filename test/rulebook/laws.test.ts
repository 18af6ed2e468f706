import fc from 'fast-check'
import t from 'tap'
import { decideOutbound, decideRelease } from '../../rulebook/index.ts'
import { mail, open, policyOf } from './policy-file.ts'

// Conditions that can be true, false or in error, over a few facts.
const outboundConditions = [
  'message.report',
  'message.list',
  '!message.signed',
  'message.size / message.ttlWish == 2000',
  "message.from[1] == 'x@example.net'",
  'message.ttlWish % message.ttlWish == 0',
]
const outboundRule = fc.record({
  when: fc.constantFrom(...outboundConditions),
  does: fc.constantFrom('pass', 'seal', 'seal, ttl: 2d', 'refuse, because: No.', 'hold, because: Wait.'),
})
const anyMail = fc.record({
  report: fc.boolean(),
  list: fc.boolean(),
  signed: fc.boolean(),
  wish: fc.constantFrom('1s', '7d', '400d'),
})

/** Rules with the same condition twice are refused at load: keep the first of each, and give each a name. */
function written(rules: readonly { readonly when: string; readonly does: string }[]): string[] {
  const once = rules.filter(({ when }, index) => rules.findIndex((other) => other.when === when) === index)
  return once.map(({ when, does }, index) => `{ name: r${index}, when: ${JSON.stringify(when)}, then: ${does} }`)
}

t.test('a mail passes only by a rule that matched after no error', async () => {
  fc.assert(
    fc.property(fc.array(outboundRule, { maxLength: 5 }), anyMail, fc.boolean(), (rules, given, wished) => {
      const policy = policyOf({ outbound: written(rules), otherwise: 'pass' })
      const facts = mail(wished ? given : { ...given, wish: undefined as never })
      const verdict = decideOutbound(policy, facts)
      const bindings = policy.outbound.map((rule) => decideOutbound({ ...policy, outbound: [rule] }, facts))
      const failed = bindings.findIndex(({ rule }) => rule.startsWith('error-in:'))
      const reached = bindings.findIndex(({ rule }) => rule !== 'default')
      return !(failed >= 0 && failed === reached && verdict.kind === 'pass')
    }),
  )
})

t.test('no time to live leaves its bounds', async () => {
  fc.assert(
    fc.property(fc.array(outboundRule, { maxLength: 5 }), anyMail, fc.double(), (rules, given, odd) => {
      const facts = mail(given)
      const bent = { ...facts, message: { ...facts.message, ttlWish: Math.abs(odd) < 1e12 ? odd : 0 } }
      for (const one of [facts, bent]) {
        const verdict = decideOutbound(policyOf({ outbound: written(rules) }), one)
        if (verdict.kind !== 'seal' && verdict.kind !== 'hold') continue
        const { ttlSeconds } = verdict.terms
        if (!Number.isInteger(ttlSeconds) || ttlSeconds < 60 || ttlSeconds > 90 * 86_400) return false
      }
      return true
    }),
  )
})

const releaseConditions = [
  'person.internal',
  "person.role == 'sender'",
  'request.hour < 12',
  'envelope.ageSeconds / (request.hour - 6) == 10',
  'request.weekday % request.hour == 0',
  'true',
]
const releaseRule = fc.record({
  when: fc.constantFrom(...releaseConditions),
  does: fc.constantFrom('allow', 'deny, because: No.'),
})
const anyOpen = fc.record({
  person: fc.constantFrom('bert@acme.example', 'bob@example.org'),
  role: fc.constantFrom('sender' as const, 'recipient' as const),
  hour: fc.constantFrom(0, 6, 13),
})

t.test('permuting the release rules changes nothing', async () => {
  fc.assert(
    fc.property(
      fc.array(releaseRule, { minLength: 1, maxLength: 6 }).chain((rules) => {
        const lines = written(rules)
        return fc.tuple(fc.constant(lines), fc.shuffledSubarray(lines, { minLength: lines.length }))
      }),
      anyOpen,
      ([rules, shuffled], given) => {
        const one = decideRelease(policyOf({ release: rules }), open(given))
        const other = decideRelease(policyOf({ release: shuffled }), open(given))
        return JSON.stringify(one) === JSON.stringify(other)
      },
    ),
  )
})

t.test('a deny that matches, or cannot be worked out, wins in any order', async () => {
  fc.assert(
    fc.property(fc.array(releaseRule, { minLength: 1, maxLength: 6 }), anyOpen, (rules, given) => {
      const policy = policyOf({ release: written(rules) })
      const denies = policy.release.filter(({ verdict }) => verdict === 'deny')
      const alone = denies.map((rule) => decideRelease({ ...policy, release: [rule] }, open(given)))
      const denied = alone.some(({ rule }) => rule !== 'default')
      return !(denied && decideRelease(policy, open(given)).kind === 'allow')
    }),
  )
})

t.test('without an allow that matches nothing opens', async () => {
  fc.assert(
    fc.property(fc.array(releaseRule, { minLength: 1, maxLength: 6 }), anyOpen, (rules, given) => {
      const policy = policyOf({ release: written(rules) })
      const allows = policy.release.filter(({ verdict }) => verdict === 'allow')
      const alone = allows.map((rule) => decideRelease({ ...policy, release: [rule] }, open(given)).kind)
      return alone.includes('allow') || decideRelease(policy, open(given)).kind === 'deny'
    }),
  )
})
