import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { openDialogue } from './dialogue.ts'
import { always, annasAccount, open, org, other, ranges } from './open-listener.ts'

const mail = 'From: anna@acme.example\r\nSubject: hello\r\n\r\nfirst line\r\n'

t.test('a mail goes in and the reply names what became of it', async (t) => {
  const { port, taken } = await open(t)
  const client = await openDialogue(port)
  const started = performance.now()
  t.match(await client.reply(), /^220 gw\.acme\.example ESMTP/)
  t.ok(performance.now() - started < 90, 'the greeting does not wait for early talkers')
  const ehlo = await client.say('EHLO client.example')
  for (const offer of ['PIPELINING', '8BITMIME', 'SMTPUTF8', 'ENHANCEDSTATUSCODES', 'SIZE 4000000'])
    t.match(ehlo, offer)
  t.notMatch(ehlo, /STARTTLS|AUTH|XCLIENT/, 'nothing is offered that is not configured')
  t.equal(await client.say('MAIL FROM:<anna@acme.example> BODY=8BITMIME SIZE=100'), '250 2.1.0 Accepted')
  t.equal(await client.say('RCPT TO:<kunde@example.org>'), '250 2.1.5 Accepted')
  t.match(await client.say('DATA'), /^354 /)
  client.write(`${mail}..dotted\r\n.\r\n`)
  t.match(await client.reply(), /^250 2\.0\.0 taken as [\w-]{22}$/)
  t.equal(taken[0]?.octets.toString(), `${mail}.dotted\r\n`)
  t.equal(taken[0]?.intake.org, org)
  t.equal(taken[0]?.intake.sender?.address, 'anna@acme.example')
  const received = taken[0]?.intake.received ?? ''
  t.match(
    received,
    /^from client\.example \(\[127\.0\.0\.1\]\)\r\n\tby gw\.acme\.example with ESMTP id [\w-]{22}\r\n\tfor <kunde@example\.org>;/,
  )
  t.equal(await client.say('QUIT'), '221 2.0.0 Bye')
})

t.test('several recipients are not told of each other in Received', async (t) => {
  const { port, taken } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData('anna@acme.example', 'a@example.org', 'b@example.org', 'A@EXAMPLE.org')
  client.write(`${mail}.\r\n`)
  t.match(await client.reply(), /^250/)
  t.notMatch(taken[0]?.intake.received, 'for <')
  t.strictSame(
    taken[0]?.intake.recipients.map(({ address }) => address),
    ['a@example.org', 'b@example.org'],
    'nobody twice',
  )
  client.destroy()
})

t.test('pipelined commands get one reply each, in order', async (t) => {
  const { port, taken } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  const one = `MAIL FROM:<anna@acme.example>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n`
  client.write(one)
  for (const code of ['250', '250', '354']) t.equal((await client.reply()).slice(0, 3), code)
  client.write(`${mail}.\r\n${one}`)
  for (const code of ['250', '250', '250', '354']) t.equal((await client.reply()).slice(0, 3), code)
  client.write(`${mail}.\r\nNOOP\r\nQUIT\r\n`)
  for (const code of ['250', '250', '221']) t.equal((await client.reply()).slice(0, 3), code)
  t.equal(await client.reply(), '', 'and nothing after it')
  t.equal(taken.length, 2)
})

t.test('a port is shared by those who all say so, and one goes on without the other', async (t) => {
  const first = await open(t, { sharedPort: true })
  const second = await open(t, { sharedPort: true, port: first.port })
  await t.rejects(open(t, { port: first.port }), { code: 'EADDRINUSE' })
  const talk = async () => {
    const client = await openDialogue(first.port)
    await client.reply()
    for (const said of ['EHLO client.example', 'MAIL FROM:<anna@acme.example>', 'RCPT TO:<kunde@example.org>', 'DATA'])
      await client.say(said)
    client.write(`${mail}.\r\n`)
    return await client.reply()
  }
  for (let i = 0; i < 40; i++) t.match(await talk(), /^250 /)
  t.ok(first.taken.length > 0 && second.taken.length > 0, `${first.taken.length} and ${second.taken.length}`)
  t.equal(first.taken.length + second.taken.length, 40)
  await first.listener.close()
  for (let i = 0; i < 5; i++) t.match(await talk(), /^250 /)
  t.equal(first.taken.length + second.taken.length, 45)
})

t.test('a client that proves no organization is refused, and never relayed for', async (t) => {
  const { port, taken } = await open(t, {}, { rules: [] })
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^550 5\.7\.1 .*relaying refused$/)
  t.match(await client.say('MAIL FROM:<>'), /^550 5\.7\.1 /)
  t.match(await client.say('RCPT TO:<b@example.org>'), /^503 /)
  t.match(await client.say('DATA'), /^503 /)
  t.equal(taken.length, 0)
  client.destroy()
})

t.test('a client outside the range is refused, inside it is not', async (t) => {
  for (const [list, reply] of [
    ['192.0.2.0/24', /^550 5\.7\.1/],
    ['127.0.0.0/8', /^250/],
  ] as const) {
    const { port } = await open(t, {}, { rules: [{ kind: 'range', org, ranges: ranges(list) }] })
    const client = await openDialogue(port)
    await client.reply()
    await client.say('EHLO client.example')
    t.match(await client.say('MAIL FROM:<anna@acme.example>'), reply)
    client.destroy()
  }
})

t.test('MAIL FROM of another organization is refused, and the empty one taken', async (t) => {
  const { port } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  t.match(await client.say('MAIL FROM:<boss@other.example>'), /^550 5\.7\.1 MAIL FROM is not in the domains/)
  t.match(await client.say('MAIL FROM:<boss@sub.acme.example>'), /^550 5\.7\.1/)
  t.match(await client.say('MAIL FROM:<>'), /^250/)
  client.destroy()
})

t.test('while no policy is known, mail is turned back for later', async (t) => {
  const { port } = await open(t, {}, { domainsOf: () => null })
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^451 4\.3\.0 /)
  client.destroy()
})

t.test('from shared addresses only the tenant secret proves the organization', async (t) => {
  const secret = 'the secret of acme'
  const rules = [
    { kind: 'tenant', org, ranges: ranges('127.0.0.0/8'), secret },
    { kind: 'tenant', org: other, ranges: ranges('127.0.0.0/8'), secret: 'the secret of other' },
  ] as const
  const { port, taken } = await open(t, {}, { rules })
  const client = await openDialogue(port)
  await client.reply()
  const send = async (from: string, head: string) => {
    await client.upToData(from, 'b@example.org')
    client.write(`${head}${mail}.\r\n`)
    return client.reply()
  }
  t.match(await send('anna@acme.example', ''), /^550 5\.7\.1 .*tenant secret/)
  t.match(await send('anna@acme.example', 'Sealpost-Tenant: wrong\r\n'), /^550 5\.7\.1/)
  t.match(
    await send('anna@acme.example', 'Sealpost-Tenant: the secret of other\r\n'),
    /^550 5\.7\.1/,
    "another tenant's",
  )
  t.match(
    await send('anna@acme.example', `Sealpost-Tenant: x\r\nSealpost-Tenant: ${secret}\r\n`),
    /^550 5\.7\.1/,
    'two fields',
  )
  t.match(await send('anna@acme.example', `sealpost-tenant: ${secret}\r\n`), /^250/)
  t.match(await send('', `Sealpost-Tenant: the secret of other\r\n`), /^250/, 'for <> the secret alone tells')
  t.strictSame(
    taken.map(({ intake }) => intake.org),
    [org, other],
  )
  client.destroy()
})

t.test('a bare CR or LF is refused by name, and no later dot ends the message', async (t) => {
  const { port, taken } = await open(t)
  const bad = [
    ['a bare LF in line 4', 'a\nb\r\n'],
    ['a bare CR in line 4', 'a\rb\r\n'],
    ['a bare LF in line 5', 'a\r\n.\n.\r\nMAIL FROM:<evil@acme.example>\r\n'],
    ['a bare LF in line 4', 'a\n.\r\nMAIL FROM:<evil@acme.example>\r\nRCPT TO:<x@example.org>\r\nDATA\r\nsmuggled\r\n'],
    ['a bare LF in line 4', 'a\n..\r\n'],
    ['a bare CR in line 5', 'a\r\n.\r.\r\n'],
    ['a bare CR in line 4', 'a\r\r\n'],
  ] as const
  for (const [named, body] of bad) {
    const client = await openDialogue(port)
    await client.reply()
    await client.upToData('anna@acme.example', 'b@example.org')
    client.write(`From: a\r\nSubject: b\r\n\r\n${body}.\r\n`)
    const reply = await client.reply()
    t.match(reply, /^550 5\.5\.2 /, JSON.stringify(body))
    t.match(reply, named, JSON.stringify(body))
    t.match(await client.say('NOOP'), /^250/, 'the next command gets its own reply')
    client.destroy()
  }
  t.equal(taken.length, 0, 'nothing was smuggled in')
})

t.test('bare newlines are made CRLF where that is configured, and still end nothing', async (t) => {
  const { port, taken } = await open(t, { bareNewlines: 'normalise' })
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write('Subject: b\r\n\r\none\ntwo\rthree\r\r\nfour\n.\r\nMAIL FROM:<x@acme.example>\n..five\r\n.\r\n')
  t.match(await client.reply(), /^250/)
  t.match(await client.say('NOOP'), /^250/)
  const expected = 'Subject: b\r\n\r\none\r\ntwo\r\nthree\r\nfour\r\n.\r\nMAIL FROM:<x@acme.example>\r\n..five\r\n'
  t.equal(taken[0]?.octets.toString(), expected)
  client.destroy()
})

t.test('a message beyond the size is refused at MAIL, and where MAIL said nothing, while it streams', async (t) => {
  const { port, taken, folder } = await open(t, {}, { offers: always({ size: 2_000_000 }) })
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  t.match(await client.say('MAIL FROM:<anna@acme.example> SIZE=2000001'), /^552 5\.3\.4 /)
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write(mail)
  for (let sent = 0; sent < 2_100_000; sent += 100_000) client.write(`${'x'.repeat(998)}\r\n`.repeat(100))
  client.write('.\r\n')
  t.match(await client.reply(), /^552 5\.3\.4 .*2000000 octets/)
  t.match(await client.say('NOOP'), /^250/)
  t.equal(taken.length, 0)
  t.strictSame(readdirSync(folder), [], 'nothing is left behind')
  client.destroy()
})

t.test('a header that is too large is refused', async (t) => {
  const { port } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write(`${`X-Filler: ${'x'.repeat(980)}\r\n`.repeat(1100)}\r\nbody\r\n.\r\n`)
  t.match(await client.reply(), /^552 5\.3\.4 the header/)
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write(`${'a: b\r\n'.repeat(5001)}\r\nbody\r\n.\r\n`)
  t.match(await client.reply(), /^552 5\.3\.4 the header/)
  client.destroy()
})

t.test('too many recipients get 452 and the others are served', async (t) => {
  const { port, taken } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  await client.say('MAIL FROM:<anna@acme.example>')
  for (let n = 1; n <= 5; n++) t.match(await client.say(`RCPT TO:<b${n}@example.org>`), /^250/)
  t.match(await client.say('RCPT TO:<b6@example.org>'), /^452 4\.5\.3 /)
  await client.say('DATA')
  client.write(`${mail}.\r\n`)
  t.match(await client.reply(), /^250/)
  t.equal(taken[0]?.intake.recipients.length, 5)
  client.destroy()
})

t.test('a message with too many Received fields is going in a circle', async (t) => {
  const { port } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write(`${'Received: from a by b; today\r\n'.repeat(11)}${mail}.\r\n`)
  t.match(await client.reply(), /^554 5\.4\.6 .*incident/)
  client.destroy()
})

t.test('parameters that would inject, or that are not known, are refused', async (t) => {
  const { port } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  t.match(await client.say('MAIL FROM:<anna@acme.example> ENVID=a+0D+0ABcc:x'), /^501 /)
  t.match(await client.say('MAIL FROM:<anna@acme.example> EVIL=1'), /^555 5\.5\.4 /)
  t.match(await client.say('MAIL FROM:<an\u0001na@acme.example>'), /^501 /)
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^250/)
  t.match(await client.say('RCPT TO:<b@example.org> ORCPT=rfc822;x+0D+0Ay'), /^501 /)
  t.match(await client.say('RCPT TO:<b@example.org> NOTIFY=NEVER ORCPT=rfc822;b@example.org'), /^250/)
  client.destroy()
})

t.test('addresses that need SMTPUTF8 need it asked for, and a next hop that offers it', async (t) => {
  const utf8 = (text: string) => Buffer.from(text).toString('latin1')
  for (const carries of [true, false]) {
    const { port, taken } = await open(t, {}, { offers: always({ smtpUtf8: carries }) })
    const client = await openDialogue(port)
    await client.reply()
    await client.say('EHLO client.example')
    t.match(await client.say(utf8('MAIL FROM:<änna@acme.example>')), /^553 5\.6\.7 /)
    t.match(
      await client.say(utf8('MAIL FROM:<änna@acme.example> SMTPUTF8')),
      carries ? /^250/ : /^553 5\.6\.7 .*next hop/,
    )
    if (carries) {
      t.match(await client.say(utf8('RCPT TO:<b@bücher.example>')), /^250/)
      await client.say('DATA')
      client.write(`${mail}.\r\n`)
      await client.reply()
      t.equal(taken[0]?.intake.recipients[0]?.mailbox, 'b@xn--bcher-kva.example', 'domains go on as A-labels')
      t.match(taken[0]?.intake.received, 'with UTF8SMTP id')
    }
    client.destroy()
  }
})

t.test('a refused MAIL with SMTPUTF8 leaves nothing to the next one', async (t) => {
  const { port } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  t.match(await client.say('MAIL FROM:<x@other.example> SMTPUTF8'), /^550/)
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^250/)
  t.match(await client.say(Buffer.from('RCPT TO:<ä@example.org>').toString('latin1')), /^553 5\.6\.7/)
  client.destroy()
})

t.test('a connection cut in the middle of the content leaves nothing and harms nobody', async (t) => {
  const { port, taken, folder, listener } = await open(t)
  for (const size of [1000, 1_500_000]) {
    const client = await openDialogue(port)
    await client.reply()
    await client.upToData('anna@acme.example', 'b@example.org')
    client.write(mail + `${'x'.repeat(98)}\r\n`.repeat(size / 100))
    await sleep(100)
    client.destroy()
  }
  await sleep(100)
  t.equal(taken.length, 0)
  t.strictSame(readdirSync(folder), [])
  const next = await openDialogue(port)
  t.match(await next.reply(), /^220/)
  next.destroy()
  await listener.close()
})

t.test('a large message waits in a file without a name and comes back whole', async (t) => {
  const { port, taken, folder } = await open(t)
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData('anna@acme.example', 'b@example.org')
  const body = Array.from({ length: 30_000 }, (_, n) => `line ${n} ${'y'.repeat(n % 90)}\r\n`).join('')
  client.write(`${mail}${body}.\r\n`)
  t.match(await client.reply(), /^250/)
  t.equal(taken[0]?.octets.toString(), mail + body)
  t.equal(taken[0]?.intake.content.octets, null, 'it was not held in memory')
  t.strictSame(readdirSync(folder), [])
  client.destroy()
})

t.test('content that never ends is given up', async (t) => {
  const { port, taken } = await open(t, {}, { dataTimeoutMs: 200 })
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write(mail)
  t.match(await client.reply(), /^421 4\.4\.2 /)
  t.equal(await client.reply(), '', 'and the connection ends, so that nobody can hold it by dripping octets')
  t.equal(taken.length, 0)
})

t.test('a disk that is full to the last octet is told as such, whatever found it so', async (t) => {
  for (const code of ['ENOSPC', 'EDQUOT', 'SQLITE_FULL']) {
    const fault = Object.assign(new Error('as the system says'), { code })
    const { port } = await open(t, {}, { accept: () => Promise.reject(fault) })
    const client = await openDialogue(port)
    await client.reply()
    await client.upToData('anna@acme.example', 'b@example.org')
    client.write(`${mail}.\r\n`)
    t.match(await client.reply(), /^452 4\.3\.1 there is no room/, code)
    client.destroy()
  }
})

t.test('a failure inside is a 451 with an incident, and tells nothing of itself', async (t) => {
  const { port, log } = await open(t, {}, { accept: () => Promise.reject(new Error('secret inner words')) })
  const client = await openDialogue(port)
  await client.reply()
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write(`${mail}.\r\n`)
  const reply = await client.reply()
  const incident = /\(incident ([\w-]{22})\)$/.exec(reply)?.[1] ?? 'none'
  t.match(reply, /^451 4\.3\.0 /)
  t.notMatch(reply, 'secret')
  t.match(log(), incident, 'the log knows it')
  t.match(await client.say('NOOP'), /^250/)
  client.destroy()
})

t.test('signing in proves the organization, and needs TLS', async (t) => {
  const now = new Date()
  const pair = await issuePair(await createAuthority(now), { kind: 'server', names: ['localhost'] }, now)
  const tls = { mode: 'starttls', certificate: pair.cert, key: pair.key } as const
  const { port, taken } = await open(t, { tls }, { rules: [], accounts: await annasAccount() })
  const plain = (password: string) => `AUTH PLAIN ${Buffer.from(`\0anna\0${password}`).toString('base64')}`
  const client = await openDialogue(port)
  await client.reply()
  t.match(await client.say('EHLO client.example'), 'STARTTLS')
  t.match(await client.say(plain('a long password')), /^538 /)
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^550 5\.7\.1/)
  t.match(await client.say('STARTTLS'), /^220/)
  await client.startTls()
  t.match(await client.say('EHLO client.example'), 'AUTH PLAIN LOGIN')
  t.match(await client.say(plain('wrong')), /^535 5\.7\.8 /)
  t.match(await client.say(plain('a long password')), /^235 /)
  t.match(await client.say('MAIL FROM:<boss@other.example>'), /^550 5\.7\.1/, 'only for its own organization')
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write(`${mail}.\r\n`)
  t.match(await client.reply(), /^250/)
  t.match(taken[0]?.intake.received, 'with ESMTPSA id')
  client.destroy()

  const guesser = await openDialogue(port)
  await guesser.reply()
  await guesser.say('EHLO client.example')
  await guesser.say('STARTTLS')
  await guesser.startTls()
  await guesser.say('EHLO client.example')
  await guesser.say(plain('1'))
  await guesser.say(plain('2'))
  t.match(await guesser.say(plain('3')), /^421 4\.7\.0/, 'three guesses a connection')
  t.equal(await guesser.reply(), '')
})

t.test('without TLS nobody is asked for a password, unless configured on loopback', async (t) => {
  const accounts = await annasAccount()
  const hidden = await open(t, {}, { rules: [], accounts })
  const client = await openDialogue(hidden.port)
  await client.reply()
  t.notMatch(await client.say('EHLO client.example'), 'AUTH')
  t.match(await client.say('AUTH PLAIN AGFubmEAYSBsb25nIHBhc3N3b3Jk'), /^500/)
  client.destroy()
  const allowed = await open(t, { clearSignIn: true }, { rules: [], accounts })
  const second = await openDialogue(allowed.port)
  await second.reply()
  t.match(await second.say('EHLO client.example'), 'AUTH')
  t.match(await second.say('AUTH PLAIN AGFubmEAYSBsb25nIHBhc3N3b3Jk'), /^235/)
  second.destroy()
})

t.test('a stop lets the message under way have its reply and sends idle clients away', async (t) => {
  let release: () => void = () => undefined
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { port, listener } = await open(
    t,
    {},
    {
      accept: async () => {
        await held
        return { code: 250, status: '2.0.0', text: 'done' }
      },
    },
  )
  const idle = await openDialogue(port)
  await idle.reply()
  const busy = await openDialogue(port)
  await busy.reply()
  await busy.upToData('anna@acme.example', 'b@example.org')
  busy.write(`${mail}.\r\n`)
  await sleep(100)
  const closed = listener.close()
  t.match(await idle.reply(), /^421 4\.3\.2 /)
  release()
  t.equal(await busy.reply(), '250 2.0.0 done')
  t.match(await busy.reply(), /^421 /)
  await closed
  await t.rejects(openDialogue(port), 'nobody new gets in')
})

t.test('an idle client is let go, and resets harm nobody', async (t) => {
  const { port } = await open(t, { idleTimeoutMs: 200 })
  const client = await openDialogue(port)
  await client.reply()
  t.match(await client.reply(), /^421 /)
  t.equal(await client.reply(), '')
  for (let n = 0; n < 20; n++) {
    const short = await openDialogue(port)
    short.write('EHLO x\r\nMAIL FROM:<anna@acme.example>\r\n')
    short.destroy()
  }
  const next = await openDialogue(port)
  t.match(await next.reply(), /^220/)
  next.destroy()
})
