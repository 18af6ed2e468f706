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
