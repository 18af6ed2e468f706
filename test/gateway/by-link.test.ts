import t from 'tap'
import { isTooLarge, keepByLink, keepsByLink, keptByLink } from '../../gateway/by-link.ts'
import type { OutgoingMail, RecipientResult } from '../../gateway/courier.ts'

function answer(code: number, enhanced: string): RecipientResult {
  const outcome = code < 400 ? 'sent' : code < 500 ? 'deferred' : 'failed'
  return { recipient: 'a@example.org', outcome, code, enhanced, text: 'as the test says', remote: true }
}

function mailOf(octets: Uint8Array, smtputf8: boolean): OutgoingMail {
  return {
    ...{ size: octets.length, smtputf8, eightBit: false },
    async *open() {
      yield octets.subarray(0, 5)
      yield octets.subarray(5)
    },
  }
}

t.test('what a next hop says of a mail that is too large', async (t) => {
  const cases: readonly (readonly [RecipientResult, boolean])[] = [
    [answer(552, '5.3.4'), true],
    [answer(552, '5.0.0'), true],
    [answer(552, '5.2.3'), true],
    [answer(550, '5.2.3'), true],
    [answer(554, '5.3.4'), true],
    [answer(552, '5.2.2'), false],
    [answer(552, '5.7.0'), false],
    [answer(550, '5.1.1'), false],
    [answer(554, '5.6.0'), false],
    [answer(452, '4.3.4'), false],
    [answer(250, '2.0.0'), false],
  ]
  for (const [result, is] of cases) t.equal(isTooLarge(result), is, `${result.code} ${result.enhanced}`)
})

t.test('the spool keeps a mail by link beside a large one, octet for octet', async (t) => {
  const octets = Buffer.from('To: bücher@example.org\r\n\r\nthe notice\r\n')
  const byLink = () => mailOf(octets, true)
  const kept = await keepByLink(byLink)
  const again = keptByLink(JSON.parse(JSON.stringify(kept)))
  const pieces: Uint8Array[] = []
  for await (const piece of again.open()) pieces.push(piece)
  t.strictSame(Buffer.concat(pieces), octets)
  t.match(again, { size: octets.length, smtputf8: true, eightBit: false })
  t.equal(keepsByLink(mailOf(Buffer.alloc(1_000_000), false), byLink), true)
  t.equal(keepsByLink(mailOf(Buffer.alloc(10_000), false), byLink), false, 'a small one is hardly too large')
  t.equal(keepsByLink(mailOf(Buffer.alloc(1_000_000), false), null), false)
})
