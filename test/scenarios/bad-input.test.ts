import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { freePorts } from '../../cli/house.ts'
import { lessPrivateFields } from './corpus.ts'
import { type Dialogue, openDialogue, sendOnce } from './dialogue.ts'
import { openScene, policyOf } from './house.ts'
import { envelopeIn, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(90_000)

/*
 * client (this test, over real sockets) -> gateway -> provider (a sink). Small limits; a second listener at which nobody has proven anything.
 */
const from = 'anna@acme.example'
const to = 'bob@example.org'
const size = 300_000
const secret = 'canary-of-bad-input-5d1c'

const refusing =
  "{name: no-drafts, when: message.subject.startsWith('Draft'), then: refuse, because: Drafts do not leave this house.}"
const [stranger = 0] = await freePorts(1)
const sink = await startSink()
const scene = await openScene(t, {
  sink,
  policy: policyOf([refusing]),
  gateway: ({ smtp }) => ({
    limits: { size, recipients: 3, received: 10, idleSeconds: 20 },
    listeners: [
      { name: 'submission', host: '127.0.0.1', port: smtp, clients: [{ org: 'acme.example', from: 'anyone' }] },
      {
        name: 'outside',
        host: '127.0.0.1',
        port: stranger,
        clients: [{ org: 'acme.example', from: ['192.0.2.0/24'] }],
      },
    ],
  }),
})
const { smtp, gatewayOps } = scene.house.ports
const mailOf = (header: string, body = `${secret} and so on, for one line.\r\n`) =>
  Buffer.from(`From: ${from}\r\nTo: ${to}\r\n${header}\r\n${body}`, 'latin1')

async function talk<T>(port: number, work: (client: Dialogue) => Promise<T>): Promise<T> {
  const client = await openDialogue(port)
  const result = await work(client)
  await client.quit()
  return result
}

t.test('a client that has proven nothing is refused, whatever it says of itself', async (t) => {
  await talk(stranger, async (client) => {
    t.match(await client.say(`MAIL FROM:<${from}>`), /^550 5\.7\.1 .*relaying refused/)
    t.match(await client.say('MAIL FROM:<>'), /^550 5\.7\.1 /)
    t.match(await client.say(`RCPT TO:<${to}>`), /^503 /)
    t.match(await client.say('DATA'), /^503 /)
  })
})

t.test('MAIL FROM of somebody else is refused', async (t) => {
  await talk(smtp, async (client) => {
    for (const foreign of ['eve@example.net', 'eve@sub.acme.example', 'eve@acme.example.evil.example'])
      t.match(await client.say(`MAIL FROM:<${foreign}>`), /^550 5\.7\.1 /, foreign)
  })
})

t.test('a message over the limit is 552, said before it comes and while it comes', async (t) => {
  await talk(smtp, async (client) => {
    t.match(await client.say(`MAIL FROM:<${from}> SIZE=${size + 1}`), /^552 /)
    const octets = mailOf('', `${'x'.repeat(76)}\r\n`.repeat(size / 76))
    t.match(await client.send({ from, to: [to], octets }), /^552 5\.3\.4 .*300000/)
    t.match(
      await client.send({ from, to: [to], octets: mailOf('') }),
      /^250 /,
      'and the connection is good for the next',
    )
  })
})

t.test('more recipients than the limit are 452, and those before are served', async (t) => {
  await talk(smtp, async (client) => {
    await client.say(`MAIL FROM:<${from}>`)
    for (const n of [1, 2, 3]) t.match(await client.say(`RCPT TO:<many${n}@example.org>`), /^250 /)
    t.match(await client.say('RCPT TO:<many4@example.org>'), /^452 4\.5\.3 /)
    await client.say('DATA')
    t.match(await client.content(mailOf('Subject: three\r\n')), /^250 /)
  })
  t.same(sink.deliveries.at(-1)?.recipients, ['many1@example.org', 'many2@example.org', 'many3@example.org'])
})

t.test('a bare CR or LF is refused and named, in header and body', async (t) => {
  const cases: [string, RegExp][] = [
    ['Subject: a\nBcc: x@evil.example\r\n\r\n.\r\n', /^550 5\.5\.2 .*bare LF in line 1/],
    ['Subject: a\rBcc: x@evil.example\r\n\r\n.\r\n', /^550 5\.5\.2 .*bare CR in line 1/],
    ['Subject: a\r\n\r\nbody\n.\nMAIL FROM:<eve@evil.example>\r\n', /^550 5\.5\.2 .*bare LF in line 3/],
    ['Subject: a\r\n\r\nbody\n.\r\n', /^550 5\.5\.2 .*bare LF in line 3/],
    ['Subject: a\r\n\r\nbody\r.\r\nmore\r\n', /^550 5\.5\.2 .*bare CR in line 3/],
  ]
  const before = sink.seen.length
  await talk(smtp, async (client) => {
    for (const [text, reply] of cases) {
      t.match(await client.send({ from, to: [to], octets: Buffer.from(text) }), reply, JSON.stringify(text))
    }
    t.match(await client.say('NOOP'), /^250 /, 'no part of a message was taken for a command')
  })
  t.equal(sink.seen.length, before, 'nothing left')
})

t.test("what a rule refuses gets the rule's own sentence", async (t) => {
  const before = sink.seen.length
  const reply = await sendOnce(smtp, { from, to: [to, 'cy@example.net'], octets: mailOf('Subject: Draft of it\r\n') })
  t.match(reply, /^550 5\.7\.1 Drafts do not leave this house\. \(incident [\w-]+\)/)
  t.equal(sink.seen.length, before)
})

t.test('a message that goes in a circle is 554', async (t) => {
  const hops = 'Received: from a by b; Sun, 22 Nov 2026 14:00:00 +0000\r\n'
  t.match(await sendOnce(smtp, { from, to: [to], octets: mailOf(hops.repeat(11)) }), /^554 5\.4\.6 /)
  t.match(await sendOnce(smtp, { from, to: [to], octets: mailOf(hops.repeat(10)) }), /^250 /)
})

t.test('addresses and parameters that would inject are refused', async (t) => {
  await talk(smtp, async (client) => {
    const commands: [string, RegExp][] = [
      [`MAIL FROM:<anna\tx@acme.example>`, /^5\d\d /],
      [`MAIL FROM:<${from}> BODY=8BITMIME EVIL=1`, /^555 5\.5\.4 /],
      ['MAIL FROM:<änna@acme.example>', /^553 5\.6\.7 /],
      ['MAIL FROM:<anna\0@acme.example>', /^5\d\d /],
    ]
    for (const [command, reply] of commands) t.match(await client.say(command), reply, JSON.stringify(command))
    t.match(await client.say(`MAIL FROM:<${from}>`), /^250 /)
    t.match(await client.say('RCPT TO:<bob@example.org\0>'), /^5\d\d /)
    t.match(await client.say('RCPT TO:<bob@example.org>\n'), /^(?:250|5\d\d) /)
  })
})

t.test('a name in EHLO cannot write into the outgoing mail', async (t) => {
  const before = sink.deliveries.length
  await talk(smtp, async (client) => {
    await client.say('EHLO evil (by nobody)\tX-Injected: 1; <x>')
    t.match(await client.send({ from, to: [to], octets: mailOf('Subject: hello\r\n') }), /^250 /)
  })
  const mail = sink.deliveries[before]?.octets.toString('latin1') ?? ''
  t.match(mail, /^Received: from /)
  t.notMatch(mail.slice(0, mail.indexOf('\r\n\r\n')), /^X-Injected/m)
})

const odd: Record<string, Buffer> = {
  'no header at all': Buffer.from(`\r\n${secret} is the first line of it.\r\n`),
  'no body': Buffer.from('Subject: alone\r\n'),
  'nothing at all': Buffer.from(''),
  'a multipart that never begins': mailOf('Content-Type: multipart/mixed; boundary=none\r\n'),
  'a multipart that never ends': mailOf(
    'Content-Type: multipart/mixed; boundary=b\r\n',
    `--b\r\n\r\n${secret} in a part\r\n`,
  ),
  'a broken transfer encoding': mailOf('Content-Transfer-Encoding: base64\r\n', '=== not base64 ===\r\n'),
  '8-bit without a word of it': mailOf('Subject: \xe4\xf6\xfc \xff\r\n', 'caf\xe9 \x80\xfe\xff\r\n'),
  NULs: mailOf('Subject: a\0b\r\n', `one\0two ${secret}\0\r\n`),
  'lines of 20,000 octets': mailOf(
    `X-Long: ${'l'.repeat(20_000)}\r\nSubject: ${'s'.repeat(20_000)}\r\n`,
    `${'b'.repeat(20_000)}\r\n`,
  ),
  'lines that are no field': mailOf(`this is no field\r\n: nor this\r\n${secret} : nor that\r\n`),
  dots: mailOf('', '.\r\n..\r\n.a\r\n...\r\n'),
  'boundaries in boundaries': mailOf(
    'Content-Type: multipart/mixed; boundary=b\r\n',
    '--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n'.repeat(2000),
  ),
  'a thousand To': mailOf(`${'To: somebody@example.org\r\n'.repeat(1000)}`),
}

t.test('malformed, 8-bit and over-long mail is sealed as it is', async (t) => {
  const prove = sink.deliveries.at(-1)?.octets ?? Buffer.alloc(0)
  const reader = await scene.prove(envelopeIn(prove), to)
  for (const [name, octets] of Object.entries(odd)) {
    const before = sink.deliveries.length
    t.match(await sendOnce(smtp, { from, to: [to], octets }), /^250 /, name)
    const mail = sink.deliveries[before]?.octets ?? Buffer.alloc(0)
    const text = mail.toString('latin1')
    t.notMatch(text, /[^\r\n\t\x20-\x7e]/, `${name}: 7-bit`)
    t.ok(
      text.split('\r\n').every((line) => line.length <= 998),
      `${name}: short lines`,
    )
    t.notMatch(text, secret)
    const { message } = await reader.open(envelopeIn(mail), sealedCopyIn(mail))
    const sent = octets.length === 0 ? Buffer.from('') : octets
    t.ok(lessPrivateFields(sent).equals(message), `${name}: comes out as it went in`)
  }
})

t.test('fields that must reach no recipient reach none, sealed or not', async (t) => {
  const before = sink.deliveries.length
  const hidden =
    'Bcc: hidden@example.org\r\nSealpost-Tenant: tenant\r\nX-Sealpost-Tenant: tenant\r\nX-MS-Exchange-Organization-SCL: -1\r\nResent-Bcc: h2@example.org\r\n'
  t.match(await sendOnce(smtp, { from, to: [to], octets: mailOf(`${hidden}Subject: blind\r\n`) }), /^250 /)
  const mail = sink.deliveries[before]?.octets ?? Buffer.alloc(0)
  const reader = await scene.prove(envelopeIn(mail), to)
  const { message } = await reader.open(envelopeIn(mail), sealedCopyIn(mail))
  t.equal(Buffer.from(message).toString('latin1'), mailOf('Subject: blind\r\n').toString('latin1'))
  t.notMatch(mail.toString('latin1'), /hidden@|h2@|Tenant|SCL/)
})

t.test('clients that stall, die or talk nonsense harm nobody', async (t) => {
  const stalled = await openDialogue(smtp)
  await stalled.say(`MAIL FROM:<${from}>`)
  await stalled.say('RCPT TO:<stalled@example.org>')
  await stalled.say('DATA')
  stalled.write(mailOf('Subject: half\r\n'))
  for (let i = 0; i < 5; i++) {
    const dying = await openDialogue(smtp)
    await dying.say(`MAIL FROM:<${from}>`)
    await dying.say('RCPT TO:<dying@example.org>')
    await dying.say('DATA')
    dying.write(mailOf('Subject: half\r\n', `${secret}\r\n`.repeat(1000)))
    if (i % 2 === 0) dying.socket.resetAndDestroy()
    else dying.socket.destroy()
  }
  for (const junk of [
    randomBytes(50_000),
    Buffer.alloc(200_000, 'A'),
    Buffer.from('\r\n'.repeat(10_000)),
    Buffer.from('\0'.repeat(500)),
  ]) {
    const client = await openDialogue(smtp)
    client.write(junk)
    await sleep(50)
    client.socket.destroy()
  }
  t.match(await sendOnce(smtp, { from, to: [to], octets: mailOf('Subject: after\r\n') }), /^250 /)
  await sleep(200)
  t.same(sink.to('dying@example.org'), [], 'half a message is none')
  stalled.write('.\r\n')
  t.match(await stalled.reply(), /^250 /, 'who was only slow is served')
  await stalled.quit()
})

t.test('after all of it the same processes answer, and no log holds what was in the mails', async (t) => {
  t.equal(scene.gateway.child.exitCode, null)
  t.equal(scene.keyserver.child.exitCode, null)
  t.match(await scene.ready(gatewayOps, true), /ready|good/)
  const logs = await scene.logs()
  t.notMatch(logs, secret)
  t.notMatch(logs, 'Draft of it')
  t.notMatch(logs, /@example\.org/)
})
