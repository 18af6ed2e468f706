import t from 'tap'
import { parseHeader } from '../../gateway/header.ts'
import { addressingOf, bccField, type HeaderWay } from '../../gateway/header-addressing.ts'
import { type Address, parseAddress } from '../../protocol/identifiers.ts'
import { letter, mailOf } from './courier-contract.ts'

const way: HeaderWay = { mailboxes: null, size: 1_000_000 }

function decide(text: string, recipients: readonly string[], sender = 'anna@acme.example', more = way) {
  const fields = parseHeader(Buffer.from(text))?.fields ?? []
  return addressingOf({ sender, recipients, mail: mailOf(text) }, fields, more)
}

t.test('a mail whose header names its recipients and nobody else goes by its header', (t) => {
  const cases: readonly [what: string, text: string, recipients: readonly string[], blind: readonly string[]][] = [
    ['all in To', letter(['bo@example.org']), ['bo@example.org'], []],
    ['in To and Cc', letter(['bo@example.org'], { cc: ['cy@example.net'] }), ['cy@example.net', 'bo@example.org'], []],
    ['written differently', letter(['Bo <BO@Example.ORG>']), ['bo@example.org'], []],
    ['some in no field', letter(['bo@example.org']), ['bo@example.org', 'cy@example.net'], ['cy@example.net']],
    ['nobody in any field', letter([]), ['bo@example.org'], ['bo@example.org']],
    ['an empty group', letter(['undisclosed-recipients:;']), ['bo@example.org'], ['bo@example.org']],
    ['a quoted name with a comma', letter(['"Bo, of X" <bo@example.org>']), ['bo@example.org'], []],
  ]
  for (const [what, text, recipients, blind] of cases) {
    t.same(decide(text, recipients), { kind: 'header', mailbox: 'anna@acme.example', blind }, what)
  }
  t.end()
})

t.test('every other goes by the envelope', (t) => {
  const to = letter(['bo@example.org'])
  const cases: readonly [what: string, text: string, recipients: readonly string[], sender?: string][] = [
    ['somebody in To is not a recipient', letter(['bo@example.org', 'cy@example.net']), ['bo@example.org']],
    ['somebody in Cc is not', letter(['bo@example.org'], { cc: ['cy@example.net'] }), ['bo@example.org']],
    ['somebody in a second To is not', `To: eve@example.org\r\n${to}`, ['bo@example.org']],
    ['somebody in Bcc is not', `Bcc: eve@example.org\r\n${to}`, ['bo@example.org']],
    ['somebody in a group is not', letter(['team: bo@example.org, cy@example.net;']), ['bo@example.org']],
    ['To cannot be read', letter(['bo@example.org, nonsense']), ['bo@example.org']],
    ['a bounce', to, ['bo@example.org'], ''],
    ['MAIL FROM is another than From', to, ['bo@example.org'], 'ben@acme.example'],
    ['two in From', letter(['bo@example.org'], { from: 'anna@acme.example, ben@acme.example' }), ['bo@example.org']],
    ['two From fields', `From: anna@acme.example\r\n${to}`, ['bo@example.org']],
    ['no From field', to.replace(/From: .*\r\n/, ''), ['bo@example.org']],
    ['another in Sender', `Sender: ben@acme.example\r\n${to}`, ['bo@example.org']],
    ['a mail that was resent', `Resent-To: bo@example.org\r\n${to}`, ['bo@example.org']],
    ['an address with quotes', letter(['bo@example.org']), ['bo@example.org', '"b o"@example.org']],
    ['an address that would add a field', letter([]), ['bo@example.org\r\nX: y']],
    ['an address beyond ASCII', letter([]), ['юзер@example.org']],
    ['too large', letter([], { body: 'x'.repeat(1_000_000) }), ['bo@example.org']],
    ['too many', letter([]), Array.from({ length: 501 }, (_, i) => `p${i}@example.org`)],
  ]
  for (const [what, text, recipients, sender] of cases) t.equal(decide(text, recipients, sender).kind, 'envelope', what)
  t.end()
})

t.test('who asked for a receipt, or for no report at all, goes by the envelope', (t) => {
  const text = letter(['bo@example.org'])
  const fields = parseHeader(Buffer.from(text))?.fields ?? []
  for (const [notify, kind] of [
    [null, 'header'],
    [['FAILURE', 'DELAY'], 'header'],
    [['FAILURE', 'SUCCESS'], 'envelope'],
    [['NEVER'], 'envelope'],
  ] as const) {
    const wishes = {
      ret: null,
      envid: null,
      of: new Map([['bo@example.org', { notify, orcpt: 'rfc822;bo@example.org' }]]),
    }
    const delivery = { sender: 'anna@acme.example', recipients: ['bo@example.org'], mail: mailOf(text), wishes }
    t.equal(addressingOf(delivery, fields, way).kind, kind, String(notify))
  }
  t.end()
})

t.test('only from mailboxes that are configured', (t) => {
  const mailboxes = (...list: string[]) => ({
    ...way,
    mailboxes: new Set(list.map((text) => parseAddress(text) as Address)),
  })
  const to = letter(['bo@example.org'])
  t.equal(decide(to, ['bo@example.org'], 'Anna@ACME.example', mailboxes('anna@acme.example')).kind, 'header')
  t.equal(decide(to, ['bo@example.org'], 'anna@acme.example', mailboxes('ben@acme.example')).kind, 'envelope')
  t.end()
})

t.test('the Bcc field that is added names exactly the others, in lines', (t) => {
  const blind = Array.from({ length: 40 }, (_, i) => `p${i}@example.org`)
  const [field] = parseHeader(Buffer.from(`${bccField(blind)}\r\n`))?.fields ?? []
  t.same(field?.value.split(', '), blind)
  t.equal(bccField([]), '')
  t.end()
})
