import t from 'tap'
import { countCardNumbers } from '../../rulebook/card-number.ts'
import { countIbans } from '../../rulebook/iban.ts'
import { decideOutbound, loadPolicy } from '../../rulebook/index.ts'
import { createMessageText } from '../../rulebook/message-text.ts'
import { mail, policyOf, policyText } from './policy-file.ts'

t.test('payment card numbers are told from other numbers', async (t) => {
  const cards = [
    '4111111111111111',
    'my card: 4111 1111 1111 1111.',
    '4111-1111-1111-1111',
    '4111.1111.1111.1111',
    '4222222222222',
    'mc 5555 5555 5555 4444, amex 3782 822463 10005',
    '2223003122003222',
    '6011111111111117',
    '3530111333300000',
    '30569309025904',
    'No. 123 4111 1111 1111 1111 999',
  ]
  const counts = [1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1]
  for (const [index, text] of cards.entries()) t.equal(countCardNumbers(text), counts[index], text)
  const others = [
    '4111111111111112',
    'x4111111111111111',
    '4111111111111111a',
    '41111111111111110000000',
    '4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1',
    '4111  1111  1111  1111',
    '0000000000000000',
    '9111111111111111',
    '+49 170 1234567 089 12345678',
    'order 1234567890123456',
    '2026-11-22 10:00:00.000000',
    '',
  ]
  for (const text of others) t.equal(countCardNumbers(text), 0, text)
})

t.test('account numbers are told from other words', async (t) => {
  const accounts = [
    'DE89370400440532013000',
    'DE89 3704 0044 0532 0130 00',
    'iban: de89 3704 0044 0532 0130 00, thanks',
    'GB29 NWBK 6016 1331 9268 19',
    'FR1420041010050500013M02606',
    'NO93 8601 1117 947',
    'CH93-0076-2011-6238-5295-7',
    'MT84 MALT 0110 0001 2345 MTLC AST0 01S',
  ]
  for (const text of accounts) t.equal(countIbans(text), 1, text)
  const others = [
    'DE88370400440532013000',
    'DE8937040044053201300',
    'DE893704004405320130000',
    'XDE89370400440532013000',
    'DE89  3704 0044 0532 0130 00',
    'ZZ89370400440532013000',
    'AB12 is no account',
    '',
  ]
  for (const text of others) t.equal(countIbans(text), 0, text)
  t.equal(countIbans('DE89370400440532013000 GB29NWBK60161331926819'), 2)
})

t.test('a megabyte of what nearly counts is looked through soon', async (t) => {
  const hostile = ['4111 ', '4111', '411 ', 'DE89 ', 'DE89', '4111111111111112 ', 'a1', '1.', '4-']
  for (const piece of hostile) {
    const text = piece.repeat(1_048_576 / piece.length)
    const started = performance.now()
    countCardNumbers(text)
    countIbans(text)
    t.ok(performance.now() - started < 3000, piece)
  }
})

t.test('letters that nobody sees hide nothing', async (t) => {
  const text = createMessageText('con\u200bfi\u00addential\r\n4111\u00a01111\u202f1111 1111')
  t.equal(text.contains('confidential\n'), true)
  t.equal(text.cardNumbers, 1)
})

t.test('a long text is looked through in pieces, none of them left out', async (t) => {
  const needle = 'the secret word'
  const filled = (line: number, total: number) => `${'x'.repeat(line)}\n`.repeat(Math.ceil(total / (line + 1)))
  for (const line of [70, 1000, 70_000, 300_000]) {
    for (const before of [0, 60_000, 61_440, 65_530, 65_536, 131_000, 262_100]) {
      const text = `${filled(line, before).slice(0, before)}${needle}${filled(line, 100_000)}`
      t.equal(createMessageText(text).matches('the secret word'), true, `${line} ${before}`)
    }
  }
  t.equal(createMessageText(filled(70, 500_000)).matches('secret'), false)
  t.equal(createMessageText(`${filled(70, 200_000)}last`).matches('(?m)^last$'), true)
  t.equal(createMessageText(filled(70, 200_000)).matches('(?m)^x{1,69}$'), false, 'lines stay whole')
})

t.test('answers that were prepared are not worked out again', async (t) => {
  const text = createMessageText('x\n'.repeat(200_000))
  let pauses = 0
  const pause = async () => {
    pauses += 1
  }
  await text.prepare(['secret'], pause)
  t.ok(pauses > 3)
  pauses = 0
  await text.prepare(['secret'], pause)
  t.equal(pauses, 0)
  t.equal(text.matches('secret'), false)
  await t.rejects(
    text.prepare(['other'], () => Promise.reject(new Error('stop'))),
    { message: 'stop' },
  )
})

t.test('rules look into the text', async (t) => {
  const rule = (when: string) => policyOf({ outbound: [`{ name: it, when: ${JSON.stringify(when)}, then: pass }`] })
  const cases = [
    ["message.text.matches(r'(?i)\\bproject (falcon|eagle)\\b')", { text: 'about PROJECT Falcon' }, true],
    ["message.text.matches(r'(?i)\\bproject (falcon|eagle)\\b')", { text: 'about projects' }, false],
    ["message.text.contains('secret')", { text: 'a secret' }, true],
    ["message.text.contains('secret')", { text: 'a Secret' }, false],
    ["message.text.contains('Offer')", { subject: 'Offer' }, true],
    ['message.text.contains(recipient.address)', { text: 'to bob@example.org' }, true],
    ['message.cardNumbers == 1 && message.ibans == 1', { text: '4111111111111111 DE89370400440532013000' }, true],
    ['!message.textWhole', { textWhole: false }, true],
    ["[message.text].exists(x, x.contains('b'))", { text: 'abc' }, true],
    ["message.headers.get('X-A').exists(v, v.matches('b'))", { headers: { 'X-A': 'abc' } }, true],
  ] as const
  for (const [when, given, passes] of cases) {
    t.match(decideOutbound(rule(when), mail(given)), passes ? { kind: 'pass', rule: 'it' } : { rule: 'default' }, when)
  }
})

t.test('what cannot be asked of a text is a fault', async (t) => {
  const cases = [
    ["message.text == 'x'", /compares the text of a mail with a text/],
    ['message.text.size() > 3', /the text of a mail has no size/],
    ["message.text.lowerAscii() == 'x'", /the text of a mail has no lowerAscii/],
    ["'x' in message.text", /'in' looks in lists/],
    ["message.text.matches('(')", /not a regular expression/],
    ['message.text.matches(message.subject)', /the pattern is worked out/],
    ["message.text['matches x']", /has no entries/],
    ['message.text', /where true or false is expected/],
    ['message.text == message.text', /never equal/],
  ] as const
  for (const [when, said] of cases) {
    const loaded = loadPolicy(
      policyText({ outbound: [`{ name: it, when: ${JSON.stringify(when)}, then: pass }`] }),
      'x',
    )
    t.match(loaded.kind === 'faulty' ? loaded.faults[0].message : 'no fault', said, when)
  }
})

t.test('letters that nobody sees hide nothing', async (t) => {
  for (const unseen of ['\u00ad', '\u200b', '\u200e', '\u202c', '\u2062', '\u034f', '\ufe0f', '\u180e', '\u{e0041}']) {
    t.ok(createMessageText(`sec${unseen}ret`).contains('secret'), `U+${unseen.codePointAt(0)?.toString(16)}`)
  }
})
