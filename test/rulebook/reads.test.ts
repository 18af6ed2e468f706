import t from 'tap'
import { policyOf } from './policy-file.ts'

t.test('a policy says what of a mail its rules look at', async (t) => {
  const cases = [
    ['message.attachments.exists(a, a.name == "x")', { kinds: false, contents: false }],
    ['message.attachments.exists(a, a.kind == "program")', { kinds: true, contents: false }],
    ['message.attachments.all(a, a.size < 10)', { kinds: false, contents: true }],
    ['message.attachments.filter(a, a.locked)[0].kind == "archive"', { kinds: true, contents: true }],
    ['message.report', { kinds: false, contents: false }],
  ] as const
  for (const [when, reads] of cases) {
    const outbound = [`{ name: it, when: ${JSON.stringify(when)}, then: pass }`]
    t.match(policyOf({ outbound }).reads, reads, when)
  }
  const observing = ['{ name: it, when: "message.attachments.exists(a, a.locked)", then: pass, observe: true }']
  t.match(policyOf({ outbound: observing }).reads, { contents: true }, 'a rule that only observes looks, too')
})

t.test('a policy says which of its rules decide by what a scanner said', async (t) => {
  const rule = (name: string, when: string, more = '') =>
    `{ name: ${name}, when: ${JSON.stringify(when)}, then: pass${more} }`
  const { reads } = policyOf({
    outbound: [
      rule('asks', "message.scan.verdict == 'too-large' && recipient.internal"),
      rule('names', "message.scan.name == 'x'"),
      rule('observes', "message.scan.verdict == 'infected'", ', observe: true'),
      rule('other', 'message.report'),
    ],
  })
  t.strictSame(reads.scanRules, ['asks'])
})

t.test('the patterns that are looked for in the text are told, each once', async (t) => {
  const { reads } = policyOf({
    outbound: [
      `{ name: one, when: "message.text.matches('a') && message.text.matches('b')", then: pass }`,
      `{ name: two, when: "message.text.matches('a') && message.subject.matches('c')", then: seal }`,
    ],
  })
  t.strictSame(reads.patterns, ['a', 'b'])
  t.equal(reads.text, true)
})
