import t from 'tap'
import { type ProblemCode, problems } from '../../protocol/problem.ts'
import { refusalInWords } from '../../reader/refusal.ts'

const problem = (code: ProblemCode, more: object = {}) => ({
  kind: 'problem' as const,
  problem: { type: `urn:sealpost:problem:${code}`, title: code, status: problems[code], code, ...more },
})

t.test('every problem that the key server can answer has plain words', (t) => {
  for (const code of Object.keys(problems) as ProblemCode[]) {
    const { title, text } = refusalInWords(problem(code), 'bea@example.org')
    t.match(title, /^[A-Z][^{}<>]+[^.]$/, code)
    t.ok(text.length > 0 && text.every((one) => one.length > 30), code)
  }
  t.end()
})

t.test('a code that this page does not know yet is a refusal like any other', (t) => {
  t.match(refusalInWords(problem('brand-new' as ProblemCode), null), { title: 'This did not work', note: 'brand-new' })
  t.end()
})

t.test('expiry and revocation say when', (t) => {
  const at = '2027-03-12T13:05:00Z'
  t.match(refusalInWords(problem('expired', { at }), null).text[0], /ended on 12 March 2027, \d\d:05\./)
  t.match(refusalInWords(problem('revoked', { at }), null).text[0], /took it back on 12 March 2027/)
  t.match(refusalInWords(problem('expired'), null).text[0], /which ended\./)
  t.end()
})

t.test('an incident is passed on, so that support can find the cause', (t) => {
  t.equal(refusalInWords(problem('internal', { incident: 'i-1' }), null).note, 'Incident i-1')
  t.end()
})

t.test('how long to wait is what the server says', (t) => {
  const detail = 'There were too many wrong codes for this address today. Please try again tomorrow.'
  t.ok(refusalInWords(problem('too-many', { detail }), null).text.includes(detail))
  t.match(refusalInWords(problem('too-many'), null).text[1], /a few minutes/)
  t.end()
})

t.test('where trying again helps, it is offered first', (t) => {
  for (const refusal of [{ kind: 'unreachable' as const }, problem('unavailable'), problem('too-many')]) {
    t.equal(refusalInWords(refusal, null).remedies[0], 'try-again')
  }
  for (const code of ['expired', 'revoked'] as const) t.same(refusalInWords(problem(code), null).remedies, [])
  t.end()
})
