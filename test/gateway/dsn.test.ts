import t from 'tap'
import { createBreaker } from '../../gateway/breaker.ts'
import { createSmtpCourier } from '../../gateway/courier-smtp.ts'
import { wants, wishesOf } from '../../gateway/dsn.ts'
import { startScriptedHop } from './scripted-hop.ts'

const offers = ['PIPELINING', '8BITMIME', 'ENHANCEDSTATUSCODES']
const wishes = wishesOf({ ret: 'FULL', envid: 'a+b=c' }, [
  { mailbox: 'a@example.org', notify: ['SUCCESS', 'DELAY'], orcpt: 'rfc822;first+a@example.org' },
  { mailbox: 'b@example.org', notify: ['NEVER'], orcpt: null },
  { mailbox: 'c@example.org', notify: null, orcpt: null },
])
const mail = {
  ...{ size: 5, smtputf8: false, eightBit: false },
  async *open() {
    yield Buffer.from('\r\nhi\r\n')
  },
}
const delivery = { sender: 'anna@acme.example', recipients: [...wishes.of.keys()], mail, wishes }

for (const [name, ehlo, expected] of [
  [
    'are carried on to a next hop that offers DSN, each with its own recipient',
    [...offers, 'DSN'],
    [
      'MAIL FROM:<anna@acme.example> BODY=7BIT RET=FULL ENVID=a+2Bb+3Dc',
      'RCPT TO:<a@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+2Ba@example.org',
      'RCPT TO:<b@example.org> NOTIFY=NEVER',
      'RCPT TO:<c@example.org>',
    ],
  ],
  [
    'are kept from one that does not',
    offers,
    ['MAIL FROM:<anna@acme.example>', 'RCPT TO:<a@example.org>', 'RCPT TO:<b@example.org>', 'RCPT TO:<c@example.org>'],
  ],
] as const) {
  t.test(`wishes ${name}`, async (t) => {
    const hop = await startScriptedHop({ ehlo })
    const courier = createSmtpCourier({ host: '127.0.0.1', port: hop.port, helo: 'gw.acme.example' })
    t.match((await courier.deliver(delivery)).results, [{ outcome: 'sent' }, { outcome: 'sent' }, { outcome: 'sent' }])
    t.equal(courier.capabilities()?.dsn, (ehlo as readonly string[]).includes('DSN'))
    const said = hop.commands.filter((command) => /^(?:MAIL|RCPT)/.test(command))
    t.same(
      said.map((command) => command.replace(/ BODY=\w+/, '')),
      expected.map((command) => command.replace(/ BODY=\w+/, '')),
    )
    await courier.close()
    await hop.close()
  })
}

t.test('who wished for nothing hears of failures and delays, and who said NEVER of nothing', (t) => {
  const events = ['SUCCESS', 'FAILURE', 'DELAY'] as const
  const heard = (notify: readonly string[] | null) => events.filter((event) => wants(notify, event))
  t.same(heard(null), ['FAILURE', 'DELAY'])
  t.same(heard(['NEVER']), [])
  t.same(heard(['SUCCESS', 'FAILURE']), ['SUCCESS', 'FAILURE'])
  t.end()
})

t.test(
  'a breaker opens after failures in a row, lets one try through at times, and closes at the first answer',
  (t) => {
    let now = 0
    let closed = 0
    const onClosed = () => {
      closed += 1
    }
    const breaker = createBreaker({ failures: 3, probeMs: 100, clock: () => now, onClosed })
    const fail = () => breaker.failed()
    fail()
    fail()
    breaker.answered()
    fail()
    fail()
    t.same([breaker.isOpen(), breaker.allows()], [false, true], 'not in a row')
    fail()
    t.same([breaker.isOpen(), breaker.allows()], [true, false])
    now = 100
    t.same([breaker.allows(), breaker.allows()], [true, false], 'one')
    fail()
    t.equal(breaker.allows(), false)
    t.equal(closed, 0)
    breaker.answered()
    t.same([breaker.isOpen(), breaker.allows(), closed], [false, true, 1])
    t.end()
  },
)
