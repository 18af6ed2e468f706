import { readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { loadConfig } from '../../gateway/config.ts'
import { startGateway } from '../../gateway/gateway.ts'
import { createLog } from '../../gateway/log.ts'
import { type Dialogue, openDialogue } from './dialogue.ts'
import { type Office, openOffice } from './office.ts'

const secret = 'the words that only the recipient may read'
const anna = 'anna@acme.example'
const quick = { retrySeconds: 1, retryMostSeconds: 1 }
let count = 0
function letter(to = 'kunde@example.org', subject = 'An offer of ours'): string {
  count += 1
  return `From: Anna <${anna}>\r\nTo: ${to}\r\nSubject: ${subject}\r\nMessage-ID: <s${count}@acme.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\n${secret}\r\n`
}
const openSpooling = (t: Parameters<typeof openOffice>[0], spool: Record<string, number> = {}) =>
  openOffice(t, {}, { listener: { delivery: 'spool' }, gateway: { spool: { ...quick, ...spool } } })

t.test('a listener that spools says 250 at once, and the mail goes on when the provider lets it', async (t) => {
  const office = await openSpooling(t)
  office.refuse = () => 451
  const replies = [
    await office.send(anna, ['zoe@example.org'], letter('zoe@example.org')),
    await office.send(anna, ['yan@acme.example'], letter('yan@acme.example')),
  ]
  for (const reply of replies) t.match(reply, /^250 2\.0\.0 envelope [\w-]{22}; kept here, delivery goes on$/)
  t.match(await metrics(office), 'sealpost_gateway_spool_entries 2')
  t.strictSame(
    await found(office.data, [secret, 'An offer of ours', 'zoe@', 'yan@']),
    [],
    'no word of it is on the disk',
  )
  t.equal(office.mails.length, 0)
  office.refuse = () => null
  await until('both are delivered', () => office.mails.length === 2)
  const [toZoe, toYan] = office.mails.toSorted((a, b) => `${b.to}`.localeCompare(`${a.to}`))
  t.notMatch(toZoe?.text, secret)
  t.match(toZoe?.text, `/m/${/envelope ([\w-]{22})/.exec(replies[0] ?? '')?.[1]}`)
  t.match(toYan?.text, secret, 'what a rule passes is the same after it lay encrypted')
  await until('the spool is empty', async () => (await metrics(office)).includes('sealpost_gateway_spool_entries 0'))
  await until('nothing is left', async () => (await readdir(join(office.data, 'spool'))).length === 0)
})

t.test('while clients keep coming, what came before leaves', async (t) => {
  const office = await openSpooling(t)
  let [begun, taken] = [0, 0]
  let over = false
  const clients = Array.from({ length: 8 }, async () => {
    while (!over) {
      begun += 1
      const to = `c${begun}@example.org`
      if ((await office.send(anna, [to], letter(to))).startsWith('250')) taken += 1
    }
  })
  await until('many are taken', () => taken >= 60)
  t.ok(office.mails.length >= 10, `${office.mails.length} of ${taken} have left`)
  over = true
  await Promise.all(clients)
  await until('all have left', () => office.mails.length === taken)
  t.equal(new Set(office.mails.map(({ to }) => `${to}`)).size, taken, 'each once')
})

t.test('a client that tries again what lies in the spool gets its 250, and nobody a second mail', async (t) => {
  const office = await openSpooling(t)
  office.refuse = () => 451
  const text = letter()
  t.match(await office.send(anna, ['kunde@example.org'], text), /^250 /)
  t.match(await office.send(anna, ['kunde@example.org'], text), /^250 .*kept here/)
  t.match(await metrics(office), 'sealpost_gateway_spool_entries 1')
  office.refuse = () => null
  await until('it is delivered', () => office.mails.length > 0)
  await sleep(1500)
  t.equal(office.mails.length, 1)
})

t.test('many recipients: who was served is not served again', async (t) => {
  const office = await openSpooling(t)
  office.refuse = (to) => (to.startsWith('late') ? 451 : null)
  t.match(await office.send(anna, ['a@example.org', 'late@example.org', 'b@example.org'], letter()), /^250 /)
  await until('two have it', () => office.mails.length === 1)
  office.refuse = () => null
  await until('the third has it', () => office.mails.length === 2)
  t.strictSame(
    office.mails.map(({ to }) => to),
    [['a@example.org', 'b@example.org'], ['late@example.org']],
  )
})

t.test('who is refused for good from the spool is bounced, once; who was delivered is not named', async (t) => {
  const office = await openSpooling(t)
  office.refuse = (to) => (to.startsWith('gone') ? 550 : null)
  t.match(await office.send(anna, ['a@example.org', 'gone@example.org'], letter()), /^250 /)
  await until('mail and bounce are there', () => office.mails.length === 2)
  const bounce = office.mails.find(({ from }) => from === '')
  t.strictSame(bounce?.to, [anna])
  t.match(bounce?.text, /Final-Recipient: rfc822;gone@example\.org\r\nAction: failed/)
  t.notMatch(bounce?.text, /a@example\.org\r\nAction|words that only/)
  await sleep(1500)
  t.equal(office.mails.length, 2)
})

t.test('what cannot be delivered is told of as delayed, and bounced when its life ends', async (t) => {
  const office = await openSpooling(t, { delayNoticeSeconds: 2, lifeSeconds: 5 })
  office.refuse = (to) => (to.startsWith('never') ? 451 : null)
  t.match(await office.send(anna, ['never@example.org'], letter()), /^250 /)
  await until('the delay is told', () => office.mails.length === 1)
  t.match(office.mails[0]?.text, /Subject: Your message is delayed[\s\S]*Action: delayed\r\nStatus: 4\./)
  t.match(office.mails[0]?.text, /Will-Retry-Until: /)
  await until('its end is told', () => office.mails.length === 2)
  t.match(office.mails[1]?.text, /Action: failed\r\nStatus: 5\.4\.7/)
  t.match(office.mails[1]?.text, /not delivered within 5 seconds; last answer: 451 as the test says/)
  await until('the spool is empty', async () => (await metrics(office)).includes('sealpost_gateway_spool_entries 0'))
})

t.test(
  'what outlived its time while the gateway was down gets its chance after the start, then a bounce',
  async (t) => {
    const office = await openSpooling(t, { lifeSeconds: 4 })
    office.refuse = () => 451
    t.match(await office.send(anna, ['late@example.org'], letter()), /^250 /)
    t.match(await office.send(anna, ['never@example.org'], letter()), /^250 /)
    await until('both were tried', () => office.log().split('a spooled message is tried again').length > 2)
    await office.gateway.close()
    await sleep(4000)
    office.refuse = (to) => (to.startsWith('never') ? 451 : null)
    const again = await startGateway(loadConfig(office.configFile), createLog('debug', new PassThrough().resume()))
    t.teardown(() => again.close())
    await until('one is delivered', () => office.mails.length === 1)
    t.strictSame(office.mails[0]?.to, ['late@example.org'])
    await until('the end of the other is told', () => office.mails.length === 2)
    t.match(office.mails[1]?.text, /Final-Recipient: rfc822;never@example\.org\r\nAction: failed\r\nStatus: 5\.4\.7/)
  },
)

t.test('a clock that is set far ahead, or a machine that slept, ends no life before another attempt', async (t) => {
  const office = await openSpooling(t)
  await office.gateway.close()
  let aheadMs = 0
  const now = () => new Date(Date.now() + aheadMs)
  let log = ''
  const output = new PassThrough().on('data', (chunk) => {
    log += chunk
  })
  const clocked = await startGateway(loadConfig(office.configFile), createLog('debug', output), now)
  t.teardown(() => clocked.close())
  office.refuse = () => 451
  const port = clocked.addresses.find(({ name }) => name === 'smtp-1')?.port ?? 0
  t.match(await office.send(anna, ['kunde@example.org'], letter(), port), /^250 /)
  await until('it was tried', () => log.includes('a spooled message is tried again'))
  office.refuse = () => null
  aheadMs = 6 * 86_400_000
  await until('it is delivered', () => office.mails.some(({ to }) => to.includes('kunde@example.org')))
  t.notOk(
    office.mails.some(({ text }) => text.includes('Action: failed')),
    'nobody is told that it was not',
  )
})

t.test('a disk that is almost full refuses for now, and keeps nothing', async (t) => {
  const office = await openSpooling(t, { reserve: Number.MAX_SAFE_INTEGER })
  t.match(await office.send(anna, ['kunde@example.org'], letter()), /^452 4\.3\.1 .*try again/)
  t.strictSame(await readdir(join(office.data, 'spool')), [])
  t.equal(office.mails.length, 0)
  await until('health says so', async () => {
    const ready = await fetch(`http://127.0.0.1:${office.opsPort}/health/ready`)
    return ready.status === 503 && (await ready.text()).includes('free some space')
  })
})

t.test('a spool whose folder is gone is no ready one, and the log says so once', async (t) => {
  const office = await openSpooling(t)
  await rename(join(office.data, 'spool'), join(office.data, 'elsewhere'))
  await until('health says so', async () => {
    const ready = await fetch(`http://127.0.0.1:${office.opsPort}/health/ready`)
    return ready.status === 503 && (await ready.text()).includes('the folder of the spool is gone')
  })
  await sleep(1500)
  t.equal(office.log().split('the disk of the spool cannot be asked').length, 2)
  t.match(await office.send(anna, ['kunde@example.org'], letter()), /^451 /)
  await rename(join(office.data, 'elsewhere'), join(office.data, 'spool'))
})

t.test('a message that is revoked while it lies in the spool is not delivered', async (t) => {
  const office = await openSpooling(t)
  office.refuse = () => 451
  const reply = await office.send(anna, ['kunde@example.org'], letter())
  const id = /envelope ([\w-]{22})/.exec(reply)?.[1] ?? ''
  await until('it was tried', () => office.log().includes('a spooled message is tried again'))
  await office.revoke(id)
  office.refuse = () => null
  await until('the spool is empty', async () => (await metrics(office)).includes('sealpost_gateway_spool_entries 0'))
  t.equal(office.mails.length, 0, 'nobody is told either: it was taken back')
})

t.test('wishes of RFC 3461', async (t) => {
  const office = await openSpooling(t)
  office.refuse = (to) => (to.startsWith('gone') ? 550 : null)
  const client = await openDialogue(office.smtpPort)
  t.teardown(() => client.destroy())
  await client.reply()
  t.match(await client.say('EHLO client.example'), /^250.DSN$/m)
  await t.test('NOTIFY=NEVER: no bounce', async (t) => {
    await hand(client, ['<a@example.org>', '<gone@example.org> NOTIFY=NEVER'])
    await until('it is delivered', () => office.mails.length === 1)
    await sleep(500)
    t.equal(office.mails.length, 1)
  })
  await t.test('NOTIFY=SUCCESS: told by us where the next hop does not offer DSN', async (t) => {
    office.mails.length = 0
    await hand(client, ['<a@example.org> NOTIFY=SUCCESS ORCPT=rfc822;first+2Ba@example.org'], ' RET=HDRS ENVID=QQ+2B1')
    await until('mail and notice are there', () => office.mails.length === 2)
    const notice = office.mails[1]?.text
    t.match(notice, /Original-Envelope-Id: QQ\+1\r\n/)
    t.match(
      notice,
      /Original-Recipient: rfc822;first\+a@example\.org\r\nFinal-Recipient: rfc822;a@example\.org\r\nAction: relayed/,
    )
    t.notMatch(notice, secret)
  })
})

async function hand(client: Dialogue, recipients: readonly string[], wish = ''): Promise<void> {
  const said = [await client.say(`MAIL FROM:<${anna}>${wish}`)]
  for (const recipient of recipients) said.push(await client.say(`RCPT TO:${recipient}`))
  said.push(await client.say('DATA'))
  client.write(`${letter()}.\r\n`)
  said.push(await client.reply())
  const bad = said.find((reply) => !/^[23]/.test(reply))
  if (bad !== undefined) throw new Error(bad)
}

async function metrics(office: Office): Promise<string> {
  return (await fetch(`http://127.0.0.1:${office.opsPort}/metrics`)).text()
}

/** The files below `folder` that hold one of the words. */
async function found(folder: string, words: readonly string[]): Promise<string[]> {
  const files: string[] = []
  for (const name of await readdir(folder, { recursive: true })) {
    const octets = await readFile(join(folder, name)).catch(() => null)
    if (octets !== null && words.some((word) => octets.includes(word))) files.push(name)
  }
  return files
}

async function until(what: string, done: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await done()) return
    await sleep(50)
  }
  throw new Error(`not within 10 s: ${what}`)
}
