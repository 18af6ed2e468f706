import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { loadConfig } from '../../gateway/config.ts'
import { createLog } from '../../gateway/log.ts'
import { startReloading } from '../../gateway/reload.ts'
import { openDialogue } from './dialogue.ts'
import { type Office, openOffice } from './office.ts'

const MAIN = fileURLToPath(new URL('../../gateway/main.ts', import.meta.url))

const mail = 'From: anna@acme.example\r\nTo: b@example.org\r\nSubject: hello\r\n\r\nfirst line\r\n'
type Change = (config: {
  name: string
  listeners: Record<string, unknown>[]
  limits: Record<string, unknown>
  organizations: { 'acme.example': { nextHop: Record<string, unknown> } }
}) => void

/** The office, with its configuration to be changed and loaded again. */
async function open(t: Parameters<typeof openOffice>[0], everyMs = 100_000) {
  const tls = { mode: 'starttls', cert: 'certs/keyserver.pem', key: 'certs/keyserver.key' }
  const office = await openOffice(t, {}, { listener: { name: 'smtp-1', tls } })
  const written: string[] = []
  const load = () => loadConfig(office.configFile)
  const reloading = startReloading({
    ...{ first: load(), load, everyMs, apply: (next) => office.gateway.reload(next) },
    log: createLog('debug', { write: (line) => void written.push(line) }),
  })
  t.teardown(() => reloading.stop())
  const write = (change: Change) => {
    const config = parse(readFileSync(office.configFile, 'utf8'))
    change(config)
    writeFileSync(office.configFile, stringify(config))
  }
  const reload = (change: Change) => {
    write(change)
    return reloading.reload('the test')
  }
  return { office, reload, log: () => written.join('') }
}

async function greeted(port: number) {
  const client = await openDialogue(port)
  await client.reply()
  return { client, ehlo: await client.say('EHLO client.example') }
}

const portOf = (office: Office, name: string) =>
  office.gateway.addresses.find((address) => address.name === name)?.port ?? 0

t.test('new clients meet the new configuration, and who is here ends as they began', async (t) => {
  const { office, reload, log } = await open(t)
  const busy = await openDialogue(office.smtpPort)
  await busy.reply()
  await busy.upToData('anna@acme.example', 'b@example.org')
  busy.write(mail.slice(0, 50))
  const idle = await greeted(office.smtpPort)
  await reload((config) => {
    config.limits = { size: 1_000_000, recipients: 1, rates: { sender: { messages: 1 } } }
    config.listeners.push({ host: '127.0.0.1', port: 0, name: 'second' })
  })
  t.match(log(), 'configuration reloaded')
  t.equal(portOf(office, 'smtp-1'), office.smtpPort, 'the socket stays')

  const fresh = await greeted(office.smtpPort)
  t.match(fresh.ehlo, 'SIZE 1000000')
  t.match(await fresh.client.say('MAIL FROM:<anna@acme.example>'), /^250/)
  t.match(await fresh.client.say('RCPT TO:<a@example.org>'), /^250/)
  t.match(await fresh.client.say('RCPT TO:<b@example.org>'), /^452 4\.5\.3/)
  await fresh.client.say('RSET')
  t.match(await fresh.client.say('MAIL FROM:<anna@acme.example>'), /^450 4\.7\.1/)

  busy.write(`${mail.slice(50)}.\r\n`)
  t.match(await busy.reply(), /^250/, 'no byte of the message under way was lost')
  t.match(await idle.client.say('NOOP'), /^250/, 'and nobody was sent away')

  const second = await greeted(portOf(office, 'second'))
  t.match(await second.client.say('MAIL FROM:<anna@acme.example>'), /^550 5\.7\.1/)
  const atSecond = portOf(office, 'second')
  const waiting = await greeted(atSecond)
  await reload((config) => void config.listeners.pop())
  t.match(await waiting.client.reply(), /^421 4\.3\.2/, 'a listener that is no more sends its clients away')
  await t.rejects(openDialogue(atSecond))
  t.match(await idle.client.say('NOOP'), /^250/)
  for (const { client } of [fresh, idle, second, waiting]) client.destroy()
  busy.destroy()
})

t.test('a next hop that moves gets the next mail, and the old one ends what it has', async (t) => {
  const { office, reload } = await open(t)
  office.delayMs = 300
  const first = office.send('anna@acme.example', ['b@example.org'], mail)
  await sleep(150)
  const nowhere = createServer().listen(0, '127.0.0.1')
  await once(nowhere, 'listening')
  const address = nowhere.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  await new Promise((resolve) => nowhere.close(resolve))
  await reload((config) => {
    config.organizations['acme.example'].nextHop.port = port
  })
  t.match(await first, /^250/)
  t.match(await office.send('anna@acme.example', ['c@example.org'], mail.replace('hello', 'again')), /^451 4\.4\./)
})

t.test('what is wrong is logged, and the old configuration stays', async (t) => {
  const { office, reload, log } = await open(t)
  const before = readFileSync(office.configFile, 'utf8')
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => void taken.close())
  const bound = taken.address()
  const faults: [string, Change, RegExp][] = [
    ['an unknown option', ({ limits }) => void Object.assign(limits, { sise: 1 }), /sise is not known here/],
    [
      'another name',
      (config) => void Object.assign(config, { name: 'gw2.acme.example' }),
      /name: a change of it needs a restart/,
    ],
    [
      'a port that is taken',
      (config) => {
        config.limits.size = 70_000
        config.listeners.push({ host: '127.0.0.1', port: bound !== null && typeof bound === 'object' ? bound.port : 0 })
      },
      /EADDRINUSE/,
    ],
  ]
  for (const [what, change, words] of faults) {
    writeFileSync(office.configFile, before)
    await reload(change)
    t.match(log(), words, what)
    const { client, ehlo } = await greeted(office.smtpPort)
    t.match(ehlo, /^250-gw1\.acme\.example/)
    t.match(ehlo, 'SIZE 52428800')
    client.destroy()
  }
  t.notMatch(log(), 'configuration reloaded')
  writeFileSync(office.configFile, before)
  await reload(({ limits }) => void Object.assign(limits, { size: 70_000 }))
  t.match(log(), 'configuration reloaded', 'and a good one is taken afterwards')
})

t.test('a certificate that is renewed is shown to new clients without being asked to', async (t) => {
  const { office, log } = await open(t, 50)
  const secure = async () => {
    const client = await openDialogue(office.smtpPort)
    await client.reply()
    await client.say('EHLO client.example')
    await client.say('STARTTLS')
    return { client, name: await client.startTls() }
  }
  const old = await secure()
  const now = new Date()
  const pair = await issuePair(await createAuthority(now), { kind: 'server', names: ['renewed.example'] }, now)
  const at = (name: string) => join(dirname(office.configFile), 'certs', name)
  writeFileSync(at('keyserver.pem'), pair.cert)
  for (let n = 0; n < 40 && !log().includes('not reloaded'); n++) await sleep(50)
  t.match(log(), 'does not belong to the certificate', 'half of a pair changes nothing')
  writeFileSync(at('keyserver.key'), pair.key)
  chmodSync(at('keyserver.key'), 0o644)
  for (let n = 0; n < 40 && !log().includes('run: chmod 600'); n++) await sleep(50)
  t.match(log(), 'run: chmod 600', 'nor does a key that others can read')
  chmodSync(at('keyserver.key'), 0o600)
  for (let n = 0; n < 40 && !log().includes('configuration reloaded'); n++) await sleep(50)
  t.match(log(), 'configuration reloaded', 'once that is done, it counts')
  t.match(await old.client.say('EHLO client.example'), /^250/, 'the old connection lives on')
  const renewed = await secure()
  t.equal(renewed.name, 'renewed.example')
  t.not(old.name, renewed.name)
  old.client.destroy()
  renewed.client.destroy()
})

t.test('SIGHUP loads the configuration, and SIGTERM lets a client in the middle of DATA end', async (t) => {
  const office = await openOffice(t)
  const file = join(dirname(office.configFile), 'second.yaml')
  const config = parse(readFileSync(office.configFile, 'utf8'))
  config.data = 'data/second'
  config.limits = { drainSeconds: 10 }
  writeFileSync(file, stringify(config))
  const { process_, ended, hears } = startProcess(t, file)
  await hears(/ops listening/)
  const port = Number((await hears(/smtp-1 listening on 127\.0\.0\.1:(\d+)/))?.[1])
  const busy = await openDialogue(port)
  await busy.reply()
  await busy.upToData('anna@acme.example', 'b@example.org')
  busy.write(mail.slice(0, 50))

  writeFileSync(file, stringify({ ...config, limits: { drainSeconds: 10, size: 80_000 } }))
  process_.kill('SIGHUP')
  t.ok(await hears(/configuration reloaded/))
  const fresh = await greeted(port)
  t.match(fresh.ehlo, 'SIZE 80000')

  process_.kill('SIGTERM')
  t.match(await fresh.client.reply(), /^421 4\.3\.2/)
  await sleep(300)
  await t.rejects(openDialogue(port), 'nobody new gets in')
  busy.write(`${mail.slice(50)}.\r\n`)
  t.match(await busy.reply(), /^250/)
  t.match(await busy.reply(), /^421/)
  const [code] = await ended
  t.equal(code, 0)
  t.equal(office.mails.length, 1)
  fresh.client.destroy()
})

t.test(
  'a gateway has its data folder for itself, goes on when nobody reads its log, and stops when it is told to',
  async (t) => {
    const office = await openOffice(t)
    const file = join(dirname(office.configFile), 'second.yaml')
    const config = parse(readFileSync(office.configFile, 'utf8'))
    writeFileSync(file, stringify({ ...config, data: 'data/second' }))
    const { process_, ended, hears } = startProcess(t, file)
    await hears(/ops listening/)
    const another = spawn(process.execPath, [MAIN, file], { stdio: ['ignore', 'ignore', 'pipe'] })
    const fault = text(another.stderr)
    t.strictSame(await once(another, 'exit'), [78, null], 'a second one in the same data folder does not start')
    t.match(await fault, 'is in use by another process; stop that one first')
    process_.stdout.destroy()
    const port = Number((await hears(/smtp-1 listening on 127\.0\.0\.1:(\d+)/))?.[1])
    const { client } = await greeted(port)
    client.destroy()
    process_.kill('SIGTERM')
    t.strictSame(await Promise.race([ended, sleep(10_000)]), [0, null])
  },
)

/** A gateway process, what it says, and its end. */
function startProcess(t: Test, file: string) {
  const process_ = spawn(process.execPath, [MAIN, file], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(process_, 'exit')
  t.teardown(() => void process_.kill('SIGKILL'))
  let said = ''
  process_.stdout.on('data', (octets: Buffer) => {
    said += octets.toString()
  })
  const hears = async (words: RegExp) => {
    for (let n = 0; n < 200 && !words.test(said); n++) await sleep(50)
    return words.exec(said)
  }
  return { process_, ended, hears }
}
