import { join } from 'node:path'
import { simpleParser } from 'mailparser'
import t, { type Test } from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import type { NextHop } from '../../cli/house.ts'
import { lessPrivateFields } from './corpus.ts'
import { sendOnce } from './dialogue.ts'
import { openScene, policyOf, type Scene } from './house.ts'
import { postfixAbsent, startPostfix } from './postfix.ts'
import { leaks, secretLines } from './secrecy.ts'
import { envelopeIn, type Reply, type Sink, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(120_000)

/*
 * client -> gateway -> provider, which is Debian's Postfix with STARTTLS, verified against an authority of the test's own, or a sink that
 * refuses by script. Codes go to a sink. The provider's word about each recipient is what counts here.
 */
const from = 'anna@acme.example'
const now = new Date()
const authority = await createAuthority(now)
const server = await issuePair(authority, { kind: 'server', names: ['mx.example.org'] }, now)
const caFile = join(t.testdir({ 'ca.pem': authority.cert }), 'ca.pem')
const verified = (port: number): NextHop => ({
  host: '127.0.0.1',
  port,
  tls: { mode: 'verify', ca: caFile, name: 'mx.example.org' },
})

const canary = 'The price of the lamp is four hundred and twelve.'
const mailTo = (to: readonly string[], more = '') =>
  Buffer.from(
    `From: Anna <${from}>\r\nTo: ${to.join(', ')}\r\nSubject: The lamp\r\nMessage-ID: <${to[0]}.${more.length}@acme.example>\r\n` +
      `Date: Sun, 22 Nov 2026 14:00:00 +0000\r\nX-Inside: only here, and nowhere else\r\n${more}\r\n${canary}\r\n`,
  )

async function checkSealed(test: Test, scene: Scene, mail: Buffer, sent: Buffer, to: string): Promise<void> {
  const reader = await scene.prove(envelopeIn(mail), to)
  const { message } = await reader.open(envelopeIn(mail), sealedCopyIn(mail))
  test.ok(lessPrivateFields(sent).equals(message), `${to} reads what was sent`)
  const found = await leaks(await secretLines(sent), { message: sent, outgoing: mail, template: '' })
  test.same(found, [], 'the provider saw none of it')
}

const withCrlf = (mail: Buffer) => Buffer.from(mail.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1')
const isFor = (to: string) => (mail: Buffer) => mail.toString('latin1').includes(`X-Original-To: ${to}\r\n`)

const scripted = await startSink({ smtpUtf8: false })
const scene = await openScene(t, { sink: scripted, policy: policyOf() })
const { smtp } = scene.house.ports

t.test('Postfix as provider', { skip: postfixAbsent() }, async (t) => {
  const postfix = await startPostfix({
    tls: server,
    refuse: {
      'nobody@example.org': '550 5.1.1 no such user here',
      'nowhere@example.org': '550 5.1.1 no such user here either',
    },
    extra: {
      virtual_mailbox_domains: 'example.org acme.example',
      smtpd_tls_security_level: 'encrypt',
      smtpd_tls_received_header: 'yes',
    },
  })
  t.teardown(() => postfix.stop())
  const scene = await openScene(t, { sink: await startSink(), provider: verified(postfix.port), policy: policyOf() })
  const { smtp } = scene.house.ports
  const mails = async (count: number) => (await postfix.waitFor(count)).map(withCrlf)

  await t.test('one of three refused: two get the sealed mail, the sender one bounce, the client 250', async (t) => {
    const to = ['one@example.org', 'nobody@example.org', 'two@example.org']
    const sent = mailTo(to)
    t.match(await sendOnce(smtp, { from, to, octets: sent }), /^250 2\.0\.0 envelope [\w-]{22}; next hop: 250 2\.0\.0 /)
    const got = await mails(3)
    for (const person of ['one@example.org', 'two@example.org']) {
      const [mail, more] = got.filter(isFor(person))
      t.equal(more, undefined)
      await checkSealed(t, scene, mail ?? Buffer.alloc(0), sent, person)
    }
    const [bounce, more] = got.filter(isFor(from))
    t.equal(more, undefined, 'one bounce')
    await checkBounce(t, bounce ?? Buffer.alloc(0), 'nobody@example.org')
    t.match(await sendOnce(smtp, { from, to, octets: sent }), /^250 /, 'sent once more, it is done already')
    t.equal((await mails(3)).length, 3, 'and nobody gets anything again')
  })

  await t.test("all refused: the client gets the provider's own reply, and nobody a bounce", async (t) => {
    const to = ['nobody@example.org', 'nowhere@example.org']
    const before = (await mails(0)).length
    t.match(await sendOnce(smtp, { from, to, octets: mailTo(to) }), /^550 5\.1\.1 .*no such user here/)
    t.equal((await mails(0)).length, before)
  })

  await t.test('a recipient whom ASCII cannot carry gets it by SMTPUTF8', async (t) => {
    const to = 'юзер@example.org'
    const sent = mailTo([to])
    const before = (await mails(0)).length
    t.match(await sendOnce(smtp, { from, to: [to], octets: sent, parameters: ' SMTPUTF8' }), /^250 /)
    const got = await mails(before + 1)
    const mail = got.find((one) => one.toString('utf8').includes(`X-Original-To: ${to}`)) ?? Buffer.alloc(0)
    t.match(mail.toString('utf8'), new RegExp(`^To: ${to}\r$`, 'm'))
    await checkSealed(t, scene, mail, sent, to)
  })

  t.match(postfix.delivered()[0]?.toString('latin1'), /^Received: from gw1\.acme\.example .*\n\s+\(using TLSv1\.[23] /m)
  t.notMatch(await scene.logs(), canary)
})

/** RFC 3464, from the null sender, about one recipient, with headers only. */
async function checkBounce(test: Test, mail: Buffer, about: string): Promise<void> {
  const text = mail.toString('latin1')
  test.match(text, /^Return-Path: <>\r$/m, 'the null sender')
  test.match(text, /^Content-Type: multipart\/report; *(?:\r\n[ \t])?.*report-type="?delivery-status/ms)
  test.match(text, /^Auto-Submitted: auto-replied\r$/m)
  test.match(text, new RegExp(`^Final-Recipient: rfc822; ?${about}\\r$`, 'm'))
  test.match(text, /^Action: failed\r$/m)
  test.match(text, /^Status: 5\.1\.1\r$/m)
  test.match(text, /^Diagnostic-Code: smtp; ?550 5\.1\.1/m)
  test.equal(text.match(/^Final-Recipient:/gm)?.length, 1, 'nobody else is named')
  test.match(text, /text\/rfc822-headers/)
  const { text: words, attachments } = await simpleParser(mail)
  const all = [text, words ?? '', ...attachments.map((one) => one.content.toString('latin1'))].join('\n')
  test.notMatch(all, canary, 'no word of the text')
  test.notMatch(all, 'only here, and nowhere else', 'no field that stays inside')
}

t.test('a provider without the TLS that is demanded gets nothing, and the client tries again', async (t) => {
  const clear = await startSink()
  const scene = await openScene(t, { sink: clear, provider: verified(clear.port), policy: policyOf() })
  const to = ['bob@example.org']
  t.match(await sendOnce(scene.house.ports.smtp, { from, to, octets: mailTo(to) }), /^451 4\.\d\.\d /)
  t.same(clear.seen, [])
})

t.test('one of three deferred: 451, and the retry goes to that one, in the same envelope', async (t) => {
  const sink = refusing({ 'later@example.org': '450 4.2.1 come back later' })
  const to = ['one@example.org', 'later@example.org', 'two@example.org']
  const octets = mailTo(to)
  t.match(await sendOnce(smtp, { from, to, octets }), /^451 4\.2\.1 .*come back later/)
  t.match(await sendOnce(smtp, { from, to, octets }), /^451 4\.2\.1 /, 'and again')
  refuseNobody(sink)
  t.match(await sendOnce(smtp, { from, to, octets }), /^250 /)
  t.match(await sendOnce(smtp, { from, to, octets }), /^250 .*earlier attempt/)
  checkOnce(t, sink, to)
  t.equal(new Set(sink.deliveries.map((one) => envelopeIn(one.octets))).size, 1, 'one envelope')
  await checkSealed(t, scene, sink.to('later@example.org')[0]?.octets ?? Buffer.alloc(0), octets, 'later@example.org')
})

t.test('one refused beside one deferred: no bounce until the rest is done, then one', async (t) => {
  const gone: Reply = '550 5.1.1 no such user'
  const sink = refusing({ 'soon@example.org': '450 4.2.1 come back later', 'nobody@example.org': gone })
  const to = ['three@example.org', 'soon@example.org', 'nobody@example.org']
  const octets = mailTo(to)
  t.match(await sendOnce(smtp, { from, to, octets }), /^451 /)
  t.equal(sink.to(from).length, 0)
  sink.script.refuse = (one) => (one === 'nobody@example.org' ? gone : null)
  t.match(await sendOnce(smtp, { from, to, octets }), /^250 /)
  checkOnce(t, sink, ['three@example.org', 'soon@example.org', from])
  t.equal(sink.to(from)[0]?.sender, '', 'from the null sender')
})

t.test('a provider that refuses the content for good is heard by the client', async (t) => {
  const sink = refusing({})
  sink.script.judge = () => '554 5.7.1 not this one'
  const to = ['four@example.org', 'five@example.org']
  t.match(await sendOnce(smtp, { from, to, octets: mailTo(to) }), /^554 5\.7\.1 .*not this one/)
  t.equal(sink.deliveries.length, 0)
})

t.test('a provider without SMTPUTF8 gets no address that it cannot carry', async (t) => {
  const sink = refusing({})
  const to = ['юзер@example.org']
  t.match(await sendOnce(smtp, { from, to, octets: mailTo(to), parameters: ' SMTPUTF8' }), /^553 5\.6\.7 /)
  t.equal(sink.deliveries.length, 0)
})

t.test('no log holds a word of it', async (t) => {
  t.notMatch(await scene.logs(), canary)
})

/** The sink with nothing delivered yet, saying no to these. */
function refusing(replies: Readonly<Record<string, Reply>>): Sink {
  scripted.forget()
  scripted.script.judge = () => null
  scripted.script.refuse = (to) => replies[to] ?? null
  return scripted
}

function refuseNobody(sink: Sink): void {
  sink.script.refuse = () => null
}

function checkOnce(test: Test, sink: Sink, to: readonly string[]): void {
  for (const person of to) test.equal(sink.to(person).length, 1, `${person} has one mail`)
  test.equal(sink.deliveries.flatMap((one) => one.recipients).length, to.length, 'and nobody else any')
}
