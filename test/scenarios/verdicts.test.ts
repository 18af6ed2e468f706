import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { lessPrivateFields } from './corpus.ts'
import { sendOnce } from './dialogue.ts'
import { openScene } from './house.ts'
import { type Delivery, envelopeIn, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(90_000)

/* The sample policy, for each recipient: what leaves as it is and what leaves sealed, seen at the provider. */
const anna = 'anna@acme.example'
const bob = 'bob@example.org'
const colleague = 'carl@acme.example'
const canary = 'canary-of-verdicts-9b44'
const sink = await startSink()
const scene = await openScene(t, { sink })
const { smtp } = scene.house.ports

type Mail = {
  readonly header?: string
  readonly author?: string
  readonly sender?: string
  readonly to?: readonly string[]
  readonly body?: string
}

const octetsOf = ({ header = '', author = anna, to = [bob], body = `${canary} in the text\r\n` }: Mail) =>
  Buffer.from(`From: ${author}\r\nTo: ${to.join(', ')}\r\n${header}\r\n${body}`)

async function send(mail: Mail): Promise<{ readonly reply: string; readonly got: readonly Delivery[] }> {
  const before = sink.deliveries.length
  const { sender = anna, to = [bob] } = mail
  const reply = await sendOnce(smtp, { from: sender, to, octets: octetsOf(mail) })
  return { reply, got: sink.deliveries.slice(before) }
}

/** As it was sent, but for two fields of ours before it. */
function isAsSent(delivery: Delivery | undefined, mail: Mail): boolean {
  const text = delivery?.octets.toString('latin1') ?? ''
  const ours = /^Received: [^\r]*(?:\r\n[ \t][^\r]*)*\r\nSealpost-Handled: [^\r]*\r\n/.exec(text)?.[0] ?? 'none'
  return text === ours + lessPrivateFields(octetsOf(mail)).toString('latin1')
}

const report = 'Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n'
const reply = 'Content-Type: text/calendar; method=REPLY; charset=utf-8\r\n'
const encrypted = 'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\r\n'

t.test('what the sample policy passes leaves as it was sent', async (t) => {
  const cases: Record<string, Mail> = {
    'to a colleague': { to: [colleague] },
    'somebody else wrote it': { author: 'Eve <eve@example.net>' },
    'one of its authors is somebody else': { author: `${anna}, eve@example.net` },
    'a report': { header: report, sender: '', body: `--b\r\n\r\n${canary}\r\n--b--\r\n` },
    'an automatic reply': { header: 'Auto-Submitted: auto-replied\r\nBcc: hidden@example.org\r\n' },
    'a yes to an invitation': {
      header: reply,
      body: `BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\n${canary}\r\nEND:VCALENDAR\r\n`,
    },
    'encrypted already': {
      header: encrypted,
      body: `--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\nx\r\n--b--\r\n`,
    },
  }
  for (const [name, mail] of Object.entries(cases)) {
    const { reply, got } = await send(mail)
    t.match(reply, /^250 /, name)
    t.equal(got.length, 1)
    t.ok(isAsSent(got[0], mail), `${name}: as it was sent`)
    t.equal(got[0]?.sender, mail.sender ?? anna)
  }
})

t.test('everything else to the outside leaves sealed', async (t) => {
  const cases: Record<string, Mail> = {
    'a plain mail': {},
    'without a From that can be read': { author: 'nobody in particular' },
    'signed, which is not encrypted': {
      header: 'Content-Type: multipart/signed; boundary=b\r\n',
      body: `--b\r\n\r\n${canary}\r\n--b--\r\n`,
    },
    'it only says that it is encrypted': { header: 'Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n' },
    'clear text that says it is encrypted': { header: encrypted, body: `--b\r\n\r\n${canary}\r\n--b--\r\n` },
    'an invitation': { header: 'Content-Type: text/calendar; method=REQUEST\r\n' },
    'auto-submitted: no': { header: 'Auto-Submitted: no\r\n' },
    'from the null sender, which is no report': { sender: '' },
  }
  for (const [name, mail] of Object.entries(cases)) {
    const { reply, got } = await send(mail)
    t.match(reply, /^250 /, name)
    t.equal(got.length, 1)
    const octets = got[0]?.octets ?? Buffer.alloc(0)
    t.notMatch(octets.toString('latin1'), canary, name)
    t.ok(sealedCopyIn(octets).length > 0)
  }
})

t.test('one mail inside and outside: the colleague gets it clear, the others sealed, each once', async (t) => {
  const mail: Mail = { to: [colleague, bob, 'cy@example.net'], header: 'Message-ID: <both@acme.example>\r\n' }
  const { reply, got } = await send(mail)
  t.match(reply, /^250 2\.0\.0 envelope [\w-]{22} and 1 more; /)
  t.equal(got.length, 2)
  const clear = got.find((one) => one.recipients.includes(colleague))
  const sealed = got.find((one) => one.recipients.includes(bob))
  t.same(clear?.recipients, [colleague])
  t.same(sealed?.recipients, [bob, 'cy@example.net'])
  t.ok(isAsSent(clear, mail))
  t.notMatch(sealed?.octets.toString('latin1') ?? canary, canary)
  const again = await send(mail)
  t.match(again.reply, /^250 /)
  t.equal(again.got.length, 0, 'and the same mail once more goes to nobody')
  const envelope = envelopeIn(sealed?.octets ?? Buffer.alloc(0))
  const reader = await scene.prove(envelope, 'cy@example.net')
  const { message } = await reader.open(envelope, sealedCopyIn(sealed?.octets ?? Buffer.alloc(0)))
  t.match(Buffer.from(message).toString(), canary)
})

t.test('a blind recipient gets it, and the notice does not name them to the others', async (t) => {
  const octets = Buffer.from(
    `From: ${anna}\r\nTo: ${bob}\r\nBcc: blind@example.net\r\nSubject: quiet\r\n\r\n${canary}\r\n`,
  )
  const before = sink.deliveries.length
  t.match(await sendOnce(smtp, { from: anna, to: [bob, 'blind@example.net'], octets }), /^250 /)
  const got = sink.deliveries.slice(before)
  t.same(
    got.flatMap((one) => one.recipients),
    [bob, 'blind@example.net'],
  )
  for (const one of got) t.notMatch(one.octets.toString('latin1').replaceAll('=\r\n', ''), /blind@/)
  const mail = got.find((one) => one.recipients.includes('blind@example.net'))?.octets ?? Buffer.alloc(0)
  const blind = await scene.prove(envelopeIn(mail), 'blind@example.net')
  const { message } = await blind.open(envelopeIn(mail), sealedCopyIn(mail))
  t.notMatch(Buffer.from(message).toString(), /blind@/, 'not even inside')
})

t.test('a password in the subject does not leave, and the sender is told why', async (t) => {
  const { reply, got } = await send({ header: 'Subject: Passwort: hunter2\r\n', to: [colleague, bob] })
  t.match(reply, /^550 5\.7\.1 The subject seems to hold a password/)
  t.equal(got.length, 0)
  t.notMatch(await scene.logs(), /hunter2|canary-of-verdicts/)
})

t.test('a hidden subject is seen by the reader alone', async (t) => {
  const text = readFileSync(scene.house.policyFile, 'utf8')
  writeFileSync(
    scene.house.policyFile,
    text.replace('\noutbound:', '\nsealing: { subject: Encrypted message }\noutbound:'),
  )
  const mail: Mail = { header: 'Subject: Merger with Umbrella\r\n' }
  let octets: Buffer = Buffer.alloc(0)
  do {
    const { reply, got } = await send({ ...mail, body: `${canary} at ${Date.now()}\r\n` })
    t.match(reply, /^250 /)
    octets = got[0]?.octets ?? Buffer.alloc(0)
  } while (octets.includes('Umbrella'))
  t.match(octets.toString('latin1'), /^Subject: Encrypted message\r$/m)
  const reader = await scene.prove(envelopeIn(octets), bob)
  const { message } = await reader.open(envelopeIn(octets), sealedCopyIn(octets))
  t.match(Buffer.from(message).toString(), /^Subject: Merger with Umbrella\r$/m)
  t.notMatch(await scene.logs(), /Umbrella/)
})
