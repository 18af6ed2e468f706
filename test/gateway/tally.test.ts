import t from 'tap'
import type { RecipientResult } from '../../gateway/courier.ts'
import { emptyTally, noteState, settle, type Tally } from '../../gateway/tally.ts'
import { type EnvelopeId, parseAddress, parseEnvelopeId } from '../../protocol/identifiers.ts'

function id(letter: string): EnvelopeId {
  const parsed = parseEnvelopeId(`${letter.repeat(21)}A`)
  if (parsed === null) throw new Error(letter)
  return parsed
}
const result = (
  outcome: RecipientResult['outcome'],
  code: number,
  enhanced: string,
  remote = true,
): RecipientResult => ({
  ...{ recipient: 'a@example.org', outcome, code, enhanced, text: 'its words', remote },
})
const address = parseAddress('a@example.org')
const recipient = { address: address ?? ('' as never), mailbox: 'a@example.org', notify: null, orcpt: null }
const sent = { id: id('s'), result: result('sent', 250, '2.0.0') }
const failed = { id: id('f'), recipient, result: result('failed', 550, '5.1.1') }
const tally = (parts: Partial<Tally>): Tally => ({ ...emptyTally(), ...parts })

t.test('how a message ends', (t) => {
  const deferred = result('deferred', 421, '4.4.2', false)
  const cases = [
    ['all sent', { sent: [sent] }, 'done', 250, '2.0.0', false],
    ['all sent before', { sentBefore: [id('b')] }, 'done', 250, '2.0.0', false],
    ['one refused beside one sent', { sent: [sent], failed: [failed] }, 'done', 250, '2.0.0', true],
    ['one refused beside one sent before', { sentBefore: [id('b')], failed: [failed] }, 'done', 250, '2.0.0', true],
    ['one refused and bounced before, one sent now', { sent: [sent], failedBefore: 1 }, 'done', 250, '2.0.0', false],
    ['all refused', { failed: [failed] }, 'refused', 550, '5.1.1', undefined],
    ['all refused before', { failedBefore: 2 }, 'refused', 550, '5.0.0', undefined],
    ['one put off beside one sent', { sent: [sent], deferred: [deferred] }, 'again', 451, '4.4.2', undefined],
    ['one put off beside one refused', { failed: [failed], deferred: [deferred] }, 'again', 451, '4.4.2', undefined],
    ['another attempt is under way', { sent: [sent], busy: 1 }, 'again', 451, '4.3.0', undefined],
  ] as const
  for (const [name, parts, kind, code, status, bounce] of cases) {
    const settlement = settle(tally(parts as Partial<Tally>), 'incident-id')
    t.equal(settlement.kind, kind, name)
    t.match(settlement.answer, { code, status }, name)
    if (settlement.kind === 'done') t.equal(settlement.bounce, bounce, name)
    else t.match(settlement.answer.text, 'incident-id', name)
  }
  t.end()
})

t.test('the 250 names the envelopes and the provider, in one line that is not too long', (t) => {
  t.equal(settle(tally({ sent: [sent] }), 'x').answer.text, `envelope ${sent.id}; next hop: 250 2.0.0 its words`)
  t.match(settle(tally({ sent: [sent], sentBefore: [id('b')] }), 'x').answer.text, 'and 1 more')
  const long = { ...sent, result: { ...sent.result, text: 'x'.repeat(2000) } }
  t.ok(settle(tally({ sent: [long] }), 'x').answer.text.length < 400)
  t.end()
})

t.test('what the key server knows of a copy decides whether it is delivered', (t) => {
  const noted = emptyTally()
  const states = ['open', 'unknown', 'busy', 'sent', 'failed'] as const
  t.strictSame(
    states.map((state) => noteState(noted, id('x'), state)),
    [true, true, false, false, false],
  )
  t.match(noted, { busy: 1, failedBefore: 1, sentBefore: [id('x')] })
  t.end()
})
