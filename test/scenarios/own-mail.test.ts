import t, { type Test } from 'tap'
import { sendOnce } from './dialogue.ts'
import { codeIn, openScene, policyOf } from './house.ts'
import { type Delivery, envelopeIn, type Reply, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(90_000)

/*
 * Mail of our own that comes (back) through the gateway. The key server hands its codes to a relay (a sink), which hands them on through the
 * gateway to the provider (another sink): the policy seals everything, so what passes has proven itself.
 */
const from = 'anna@acme.example'
const to = 'bob@example.org'
const canary = 'canary-of-own-mail-31c9 and so on'

const provider = await startSink()
const relayed: Delivery[] = []
let smtp = 0
/** What a relay does: hands on what it got, and says what it was told. */
async function handOn(mail: Delivery): Promise<Reply | null> {
  relayed.push(mail)
  const reply = await sendOnce(smtp, { from: mail.sender, to: mail.recipients, octets: mail.octets })
  return reply.startsWith('250 ') ? null : (reply.split('\n')[0] as Reply)
}
const relay = await startSink({ judge: handOn })
t.teardown(() => relay.close())
const scene = await openScene(t, {
  sink: provider,
  policy: policyOf(),
  keyserver: () => ({ mail: { host: '127.0.0.1', port: relay.port, security: 'none' } }),
})
smtp = scene.house.ports.smtp

async function send(octets: Uint8Array | string, more: { from?: string; to?: string } = {}): Promise<Delivery> {
  const before = provider.deliveries.length
  const bytes = typeof octets === 'string' ? Buffer.from(octets, 'latin1') : octets
  const reply = await sendOnce(smtp, { from: more.from ?? from, to: [more.to ?? to], octets: bytes })
  const delivery = provider.deliveries[before]
  if (!reply.startsWith('250 ') || delivery === undefined) throw new Error(`not delivered: ${reply}`)
  return delivery
}
const textOf = (mail: { readonly octets: Buffer } | undefined) => mail?.octets.toString('latin1') ?? ''
const isSealed = (mail: Delivery) => textOf(mail).includes('protected-message.sealpost')

function sealedAnew(test: Test, mail: Delivery, name: string): void {
  test.ok(isSealed(mail), `${name}: sealed`)
  test.notMatch(textOf(mail), canary, `${name}: nothing of it to be seen`)
}

const original = `From: ${from}\r\nTo: ${to}\r\nSubject: The offer\r\nMessage-ID: <1@acme.example>\r\n\r\n${canary}\r\n`
const sealed = await send(original)
const envelope = envelopeIn(sealed.octets)
const reader = await scene.prove(envelope, to)
const code = relayed[0]
const stamped = textOf(code)

t.test('a code that goes through the gateway passes unsealed, without its stamp', async (t) => {
  t.match(stamped, /^Sealpost-System: v=1; /m, 'the relay got it stamped')
  const passed = provider.deliveries.find((one) => codeIn(one.octets) !== null)
  t.ok(passed)
  const text = textOf(passed)
  t.notMatch(text, /^Sealpost-System:/m)
  t.match(text, /^Auto-Submitted: auto-generated\r$/m)
  t.equal(codeIn(passed?.octets ?? Buffer.alloc(0)), codeIn(code?.octets ?? Buffer.alloc(0)))
  t.equal(passed?.sender, 'no-reply@acme.example')
})

t.test('a stamp that is not for exactly this mail does nothing', async (t) => {
  const system = { from: 'no-reply@acme.example' }
  const [header = '', body = ''] = stamped.split('\r\n\r\n')
  const field = /^Sealpost-System: [^\r]*(?:\r\n[ \t][^\r]*)*\r\n/m.exec(stamped)?.[0] ?? ''
  const cases: [string, string, { from?: string; to?: string }][] = [
    ['another text', `${header}\r\n\r\n${canary}\r\n`, system],
    ['more text', `${stamped}${canary}\r\n`, system],
    ['another subject', stamped.replace(/^Subject: .*$/m, `Subject: ${canary.slice(0, 8)}`), system],
    ['another recipient', stamped, { ...system, to: 'eve@example.org' }],
    ['another To', stamped.replace(/^To: .*$/m, 'To: eve@example.org'), { ...system, to: 'eve@example.org' }],
    ['another From', stamped.replace(/^From: .*$/m, `From: ${from}`), {}],
    ['another time', stamped.replace(/ t=\d+;/, ` t=${Math.floor(Date.now() / 1000) - 7200};`), system],
    [
      'another signature',
      stamped.replace(/sig=\s*(.)/, (whole, first) => whole.replace(first, first === 'A' ? 'B' : 'A')),
      system,
    ],
    ['another key', stamped.replace(/kid=[\w-]+/, `kid=${'A'.repeat(43)}`), system],
    ['two stamps', `${field}${stamped}`, system],
    [
      'two parts',
      stamped
        .replace(/^Content-Type: .*$/m, 'Content-Type: multipart/mixed; boundary=b')
        .replace(body, `--b\r\n\r\n${canary}\r\n--b--\r\n`),
      system,
    ],
    ['HTML', stamped.replace(/^Content-Type: text\/plain/m, 'Content-Type: text/html'), system],
  ]
  for (const [name, mail, envelope] of cases) {
    t.not(`${mail}${JSON.stringify(envelope)}`, `${stamped}${JSON.stringify(system)}`, `${name} is another mail`)
    sealedAnew(t, await send(mail, envelope), name)
  }
})

t.test('what is added beside a good stamp stays behind', async (t) => {
  const mail = await send(`X-Note: ${canary}\r\nComments: ${canary}\r\n${stamped}`, { from: 'no-reply@acme.example' })
  t.notOk(isSealed(mail))
  t.notMatch(textOf(mail), canary)
})

t.test('a sealed mail that comes back passes as it is, and is not sealed twice', async (t) => {
  const back = await send(sealed.octets, { to: 'list@example.net' })
  t.same(Buffer.from(sealedCopyIn(back.octets)), Buffer.from(sealedCopyIn(sealed.octets)), 'the same envelope')
  t.equal(envelopeIn(back.octets), envelope)
  t.equal(textOf(back).match(/^Received:/gm)?.length, 2)
  t.equal(textOf(back).match(/^Sealpost-Handled:/gm)?.length, 1)
  t.match(textOf(back), /^Subject: The offer\r$/m)
  const { message } = await reader.open(envelope, sealedCopyIn(back.octets))
  t.equal(Buffer.from(message).toString('latin1'), original)
})

t.test('who only got it passed on is no recipient', async (t) => {
  const stranger = await scene.prove(envelope, from)
  t.ok(await stranger.open(envelope, sealedCopyIn(sealed.octets)), 'its sender may open it')
  const other = await send(original.replace('<1@', '<2@'), { to: 'cy@example.org' })
  const cy = await scene.prove(envelopeIn(other.octets), 'cy@example.org')
  await t.rejects(cy.open(envelope, sealedCopyIn(sealed.octets)), { code: 'not-for-you' })
})

t.test('a stamp copied onto clear mail does not get it out', async (t) => {
  const stamp = /^Sealpost-Handled: .*\r\n/m.exec(textOf(sealed))?.[0] ?? ''
  t.match(stamp, envelope)
  const others = { to: 'list@example.net' }
  const copied = await send(`${stamp}${original.replace('<1@', '<3@')}`, others)
  sealedAnew(t, copied, 'clear mail with a stamp')
  t.not(envelopeIn(copied.octets), envelope)
  const named = original
    .replace('<1@', '<4@')
    .replace('Subject', 'Content-Type: application/octet-stream; name="protected-message.sealpost"\r\nSubject')
  sealedAnew(t, await send(`${stamp}${named}`, others), 'clear text under the name of the envelope')
  const before = provider.deliveries.length
  for (const text of [`${stamp}${original.replace('<1@', '<5@')}`, `${stamp}${named}`, textOf(sealed)]) {
    const said = await sendOnce(smtp, { from, to: [to], octets: Buffer.from(text, 'latin1') })
    t.match(said, /^554 5\.4\.6 /, 'and to one who has that envelope already nothing goes at all')
  }
  t.equal(provider.deliveries.length, before)
})

t.test('text around a genuine envelope does not ride along', async (t) => {
  const text = textOf(sealed)
  const boundary = /boundary="(=_sealpost-m-[\w-]+)"/.exec(text)?.[1] ?? ''
  const part = `--${boundary}\r\nContent-Type: text/plain\r\n\r\n${canary}\r\n`
  const cases: [string, string][] = [
    ['a part more', text.replace(`--${boundary}\r\n`, `${part}--${boundary}\r\n`)],
    ['text before the parts', text.replace(`\r\n\r\n--${boundary}`, `\r\n\r\n${canary}\r\n--${boundary}`)],
    ['text behind the parts', `${text}${canary}\r\n`],
    ['a changed notice', text.replace('protected', `${canary} protected`)],
    ['fields more', `X-Note: ${canary}\r\nComments: ${canary}\r\n${text}`],
  ]
  for (const [name, mail] of cases) {
    t.match(mail, canary)
    const out = await send(mail, { to: 'list@example.net' })
    t.notMatch(textOf(out), canary, name)
    t.ok(isSealed(out), name)
  }
  const flipped = text.replace(/(\r\n\r\nAgR4.{40})(.)/, (_, before, octet) => `${before}${octet === 'A' ? 'B' : 'A'}`)
  t.not(flipped, text)
  const out = await send(flipped, { to: 'list@example.net' })
  t.not(envelopeIn(out.octets), envelope, 'an altered envelope is sealed like any mail')
})

t.test('no log holds a code, a stamp or a text', async (t) => {
  const logs = await scene.logs()
  for (const mail of relayed) t.notMatch(logs, codeIn(mail.octets) ?? canary)
  for (const word of [canary.slice(0, 20), 'sig=', 'The offer', to]) t.notMatch(logs, word)
})
