import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { sendOnce } from './dialogue.ts'
import { openScene, policyOf } from './house.ts'
import { envelopeIn, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(120_000)

/* Messages beyond what waits in memory, and beyond what the provider carries; and what of them is left on the gateway's disk. */
const from = 'anna@acme.example'
const to = 'bob@example.org'
const canary = 'canary-of-large-mail-6e21'
const sink = await startSink()
const scene = await openScene(t, {
  sink,
  provider: { host: '127.0.0.1', port: sink.port, carryLimit: 5_000_000 },
  policy: policyOf(),
  // Room for some of them, and for a part of others: the rest goes to scratch files.
  gateway: () => ({ limits: { memory: 7_000_000 } }),
})
const { house } = scene

function mailOf(name: string, body: string): Buffer {
  return Buffer.from(
    `From: ${from}\r\nTo: ${to}\r\nSubject: ${name}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n` +
      `--b\r\n\r\n${canary} and the text of it\r\n--b\r\nContent-Type: application/octet-stream\r\n` +
      `Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.bin\r\n\r\n${body}\r\n--b--\r\n`,
  )
}
const base64 = (octets: Buffer) => octets.toString('base64').replace(/.{76}/g, '$&\r\n')

async function send(octets: Buffer) {
  const before = sink.deliveries.length
  const reply = await sendOnce(house.ports.smtp, { from, to: [to], octets })
  const mail = sink.deliveries[before]?.octets
  if (mail === undefined) throw new Error(reply)
  return { mail, envelope: envelopeIn(mail) }
}

const small = await send(mailOf('small', 'AAAA'))
const reader = await scene.prove(small.envelope, to)

t.test('3 MB are carried, and come out of attachment and link alike', async (t) => {
  const octets = mailOf('three', base64(randomBytes(2_200_000)))
  const { mail, envelope } = await send(octets)
  const attached = sealedCopyIn(mail)
  t.ok(Buffer.from(attached).equals(await reader.fetchCopy(envelope)), 'the stored copy is the attached one')
  t.ok(octets.equals((await reader.open(envelope, attached)).message))
})

t.test('base64 that deflate brings under the limit is carried', async (t) => {
  const octets = mailOf('four', base64(randomBytes(3_200_000)))
  t.ok(octets.length * 1.36 > 5_000_000, 'sealed as it is, it would be too large')
  const { mail, envelope } = await send(octets)
  t.ok(mail.length < 5_000_000)
  t.ok(octets.equals((await reader.open(envelope, sealedCopyIn(mail))).message))
})

t.test('what stays too large goes without its envelope, and opens by link', async (t) => {
  const octets = mailOf('eight', base64(randomBytes(6_000_000)))
  const { mail, envelope } = await send(octets)
  t.ok(mail.length < 100_000)
  const { text, attachments } = await simpleParser(mail)
  t.equal(attachments.length, 0)
  t.match(text, /kept, encrypted, by the organization/)
  t.ok(octets.equals((await reader.open(envelope, await reader.fetchCopy(envelope))).message))
})

t.test('many large ones at once are all served', async (t) => {
  const all = Array.from({ length: 6 }, (_, n) => mailOf(`at once ${n}`, base64(randomBytes(1_500_000))))
  const before = sink.deliveries.length
  const replies = await Promise.all(all.map((octets) => sendOnce(house.ports.smtp, { from, to: [to], octets })))
  t.ok(replies.every((reply) => reply.startsWith('250 ')))
  const opened = await Promise.all(
    sink.deliveries.slice(before).map(async ({ octets }) => {
      const { message } = await reader.open(envelopeIn(octets), sealedCopyIn(octets))
      return all.findIndex((one) => one.equals(message))
    }),
  )
  t.same(opened.sort(), [0, 1, 2, 3, 4, 5])
})

t.test('no clear word is on any disk, and no scratch file is left', async (t) => {
  t.same(readdirSync(join(house.folder, 'gw1', 'scratch')), [])
  const files = readdirSync(house.folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(house.folder, name))
    .filter((file) => statSync(file).isFile())
  t.ok(files.length > 20)
  for (const file of files) t.notOk(readFileSync(file).includes(canary), file)
  t.notOk(sink.seen.some((octets) => octets.includes(canary)))
})
