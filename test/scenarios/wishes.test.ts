import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import t from 'tap'
import type { Recipient } from '../../cli/recipient.ts'
import { sendOnce } from './dialogue.ts'
import { openScene, policyOf } from './house.ts'
import { envelopeIn, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(150_000)

/* How long a message can be opened: the policy's word, the sender's wish within it, and what is left of it afterwards. */
const from = 'anna@acme.example'
const to = 'bob@example.org'
const DAY = 86_400

const sink = await startSink()
const scene = await openScene(t, {
  sink,
  policy: policyOf([`{name: short, when: "'short' in message.tags", then: seal, ttl: 12h}`], '{default: 2d, cap: 3d}'),
  gateway: ({ gateways }) => ({
    keyServer: {
      url: `https://localhost:${gateways}`,
      cert: 'certs/gateway-gw1.pem',
      key: 'certs/gateway-gw1.key',
      ca: 'certs/ca.pem',
      pollSeconds: 1,
    },
  }),
})
const { house } = scene
const copies = join(house.folder, 'gw1', 'copies')

async function send(header: string): Promise<{ readonly envelope: string; readonly mail: Buffer }> {
  const before = sink.deliveries.length
  const octets = Buffer.from(`From: ${from}\r\nTo: ${to}\r\n${header}\r\nFor a while only.\r\n`)
  const reply = await sendOnce(house.ports.smtp, { from, to: [to], octets })
  const mail = sink.deliveries[before]?.octets
  if (mail === undefined) throw new Error(reply)
  return { envelope: envelopeIn(mail), mail }
}

async function isStored(envelope: string): Promise<boolean> {
  const small = new Database(join(copies, 'small.sqlite'), { readonly: true })
  try {
    const row = small.prepare('select 1 from copy where id = ?').get(Buffer.from(envelope, 'base64url'))
    return row !== undefined || (await readdir(copies, { recursive: true })).some((path) => path.includes(envelope))
  } finally {
    small.close()
  }
}

async function waitUntil(what: string, seconds: number, holds: () => Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < seconds * 1000; waited += 200) {
    if (await holds()) return
    await sleep(200)
  }
  throw new Error(`${what}: not within ${seconds} s`)
}

// Sent first and looked at last: a minute is the shortest time there is.
const minute = await send('Subject: gone soon\r\nSealpost-TTL: 1m\r\n')
const minuteEnds = Date.now() + 60_000
const reader: Recipient = await scene.prove(minute.envelope, to)
t.ok((await reader.open(minute.envelope, sealedCopyIn(minute.mail))).message.length > 0, 'while it lasts it opens')

t.test('the sender can wish for another time, by header or by subject, within the cap', async (t) => {
  const cases: [string, string, number][] = [
    ['no wish', 'Subject: plain\r\n', 2 * DAY],
    ['by header', 'Subject: plain\r\nSealpost-TTL: 1d\r\n', DAY],
    ['by subject', 'Subject: plain [ttl:36h]\r\n', 1.5 * DAY],
    ['by both: the header counts', 'Sealpost-TTL: 1h\r\nSubject: plain [ttl:36h]\r\n', DAY / 24],
    ['beyond the cap', 'Subject: plain\r\nSealpost-TTL: 365d\r\n', 3 * DAY],
    ['longer than the rule', 'Subject: plain [short]\r\nSealpost-TTL: 2d\r\n', DAY / 2],
    ['shorter than the rule', 'Subject: plain [short] [ttl:3h]\r\n', DAY / 8],
    ['nonsense', 'Subject: plain [ttl:soon]\r\nSealpost-TTL: for ever\r\n', 2 * DAY],
  ]
  for (const [name, header, seconds] of cases) {
    const { envelope, mail } = await send(header)
    const { issuedAt, expiresAt } = await reader.release(sealedCopyIn(mail))
    t.equal((Date.parse(expiresAt) - Date.parse(issuedAt)) / 1000, seconds, name)
    const { message } = await reader.open(envelope, sealedCopyIn(mail))
    t.notMatch(Buffer.from(message).toString(), /^Sealpost-TTL/m, 'the field reaches nobody')
    t.notMatch(mail.toString('latin1'), /^Sealpost-TTL/m)
  }
})

t.test('what the sender revokes is refused at once, shredded, and its sealed copy goes', async (t) => {
  const { envelope, mail } = await send('Subject: to be revoked\r\n')
  t.ok(await isStored(envelope))
  const sender = await scene.prove(envelope, from)
  await t.rejects(reader.revoke(envelope), { code: 'not-authorised' }, 'a recipient cannot')
  await sender.revoke(envelope)
  await t.rejects(reader.open(envelope, sealedCopyIn(mail)), { code: 'revoked' })
  await waitUntil('the sealed copy goes', 25, async () => !(await isStored(envelope)))
  await t.rejects(reader.release(sealedCopyIn(mail)), { code: 'revoked' }, 'and the refusal stays')
})

t.test('what has expired is refused, shredded, and its sealed copy goes', async (t) => {
  await sleep(Math.max(0, minuteEnds - Date.now()))
  await t.rejects(reader.open(minute.envelope, sealedCopyIn(minute.mail)), { code: 'expired' })
  await waitUntil('the sealed copy goes', 25, async () => !(await isStored(minute.envelope)))
  await t.rejects(reader.fetchCopy(minute.envelope), 'and no ticket finds it')
  t.notMatch(await scene.logs(), /gone soon|to be revoked|For a while/)
})
