import { spawnSync } from 'node:child_process'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { type BounceParts, composeBounce, isBounceable } from '../../gateway/bounce.ts'
import type { RecipientResult } from '../../gateway/courier.ts'
import { parseHeader } from '../../gateway/header.ts'
import { acme, fieldsIn, octetsOf } from './sealed-mail.ts'

const failed: RecipientResult = {
  recipient: 'nobody@example.org',
  outcome: 'failed',
  code: 550,
  enhanced: '5.1.1',
  text: 'no such mailbox',
  remote: true,
}

const message =
  'Received: from a by b\r\nFrom: Anna <anna@acme.example>\r\nTo: nobody@example.org\r\nBcc: eve@example.org\r\nSubject: Numbers\r\n' +
  'X-Secret: inside\r\nMessage-ID: <1@acme.example>\r\n\r\nThe body.\r\n'

function partsOf(extra: Partial<BounceParts> = {}): BounceParts {
  return {
    org: acme,
    organization: 'Acme',
    host: 'gw.acme.example',
    sender: 'anna@acme.example',
    failed: [failed],
    fields: fieldsIn(message),
    stamp: null,
    nextHop: 'mx.example.org',
    arrivedAt: new Date('2026-11-22T14:05:00Z'),
    now: new Date('2026-11-22T14:05:10Z'),
    ...extra,
  }
}

const textOf = async (parts: BounceParts) => (await octetsOf(composeBounce(parts).mail)).toString('utf8')

t.test('a bounce goes from the null sender to the sender, marked as automatic', async (t) => {
  const { sender, recipients, mail } = composeBounce(partsOf())
  t.same([sender, recipients], ['', ['anna@acme.example']])
  const octets = await octetsOf(mail)
  t.equal(octets.length, mail.size)
  t.match(octets.toString('latin1'), /^Auto-Submitted: auto-replied\r$/m)
  t.match(octets.toString('latin1'), /^Content-Type: multipart\/report; report-type=delivery-status;\r$/m)
  t.notMatch(octets.toString('latin1'), /[^\r\n\t\x20-\x7e]/)
})

t.test('it says in plain words what happened to whom and what to do', async (t) => {
  const full = { ...failed, recipient: 'full@example.net', code: 552, enhanced: '5.2.2', text: 'mailbox full' }
  const here = {
    ...failed,
    recipient: 'big@example.net',
    code: 552,
    enhanced: '5.3.4',
    text: 'too large',
    remote: false,
  }
  const parsed = await simpleParser(await textOf(partsOf({ failed: [failed, full, here] })))
  t.match(parsed.text, /- nobody@example\.org\n {2}There is no such address/)
  t.match(parsed.text, /mx\.example\.org said: 550 5\.1\.1 no such mailbox/)
  t.match(parsed.text, /- full@example\.net\n {2}The mailbox is full/)
  t.match(parsed.text, /- big@example\.net\n {2}The message is too large.*\n {2}Reason: 552/)
})

t.test('it returns only header fields that were outside, and no body', async (t) => {
  const text = await textOf(partsOf())
  t.match(text, 'Content-Type: text/rfc822-headers\r\n\r\nFrom: Anna')
  t.match(text, 'Subject: Numbers\r\n')
  t.notMatch(text, /eve@|X-Secret|The body/)
})

t.test('Python reads the delivery status of every recipient', async (t) => {
  const second = { ...failed, recipient: 'cy@example.net', enhanced: '4.4.1' }
  const check =
    'import sys,email,email.policy\nm=email.message_from_bytes(sys.stdin.buffer.read(),policy=email.policy.strict)\n' +
    'p=[x for x in m.walk() if x.get_content_type()=="message/delivery-status"][0]\n' +
    'print([dict(g.items()) for g in p.get_payload()])'
  const python = spawnSync('python3', ['-c', check], {
    input: await textOf(partsOf({ failed: [failed, second] })),
    encoding: 'utf8',
  })
  if (python.error !== undefined) return t.comment('python3 is absent: its parser was not asked')
  t.match(python.stdout, "'Reporting-MTA': 'dns;gw.acme.example'")
  t.match(python.stdout, "'Final-Recipient': 'rfc822;nobody@example.org', 'Action': 'failed', 'Status': '5.1.1'")
  t.match(python.stdout, "'Final-Recipient': 'rfc822;cy@example.net', 'Action': 'failed', 'Status': '5.0.0'")
  t.equal(python.stderr, '')
})

t.test('an address that ASCII cannot carry makes it a report of RFC 6533', async (t) => {
  const recipient = 'юзер@example.org'
  const delivery = composeBounce(partsOf({ failed: [{ ...failed, recipient }], sender: 'zoë@acme.example' }))
  t.match(delivery.mail, { smtputf8: true, eightBit: true })
  const text = (await octetsOf(delivery.mail)).toString('utf8')
  t.match(text, 'Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n')
  t.match(text, 'Final-Recipient: utf-8;юзер@example.org')
})

t.test('to a sender in ASCII it goes by any next hop, whatever addresses it is about', async (t) => {
  const fields = parseHeader(Buffer.from('To: юзер@example.org\r\n\r\n'))?.fields ?? []
  for (const recipient of ['юзер@example.org', 'nobody@example.org']) {
    const { mail } = composeBounce(partsOf({ fields, failed: [{ ...failed, recipient }] }))
    t.match(mail, { smtputf8: false, eightBit: false })
    const text = (await octetsOf(mail)).toString('latin1')
    t.match(text, /^[\r\n\x20-\x7e]*$/)
    t.match(
      text,
      /Content-Type: message\/global-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nTo: =D1=8E/,
    )
  }
})

t.test('nothing a next hop says can begin a line of its own', async (t) => {
  const text = await textOf(partsOf({ stamp: 'X-Stamp: 1', failed: [{ ...failed, text: `${'long '.repeat(70)}` }] }))
  t.ok(text.split('\r\n').every((line) => line.length <= 998))
  t.match(text, /^X-Stamp: 1\r$/m)
})

t.test('telling the same twice gives one Message-ID', async (t) => {
  const idOf = async (parts: BounceParts) => /^Message-ID: (\S+)\r$/m.exec(await textOf(parts))?.[1]
  t.equal(await idOf(partsOf()), await idOf(partsOf({ now: new Date() })))
  t.not(await idOf(partsOf()), await idOf(partsOf({ failed: [{ ...failed, recipient: 'x@example.org' }] })))
})

t.test('a mail from the null sender is never bounced', async (t) => {
  t.same([isBounceable(null), isBounceable(''), isBounceable('anna@acme.example')], [false, false, true])
})
