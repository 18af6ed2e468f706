import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { loadConfig } from '../../gateway/config.ts'
import type { Delivery } from '../../gateway/courier.ts'
import { createSmtpCourier } from '../../gateway/courier-smtp.ts'
import { startGateway } from '../../gateway/gateway.ts'
import { createLog } from '../../gateway/log.ts'
import type { TlsPolicy } from '../../gateway/tls-policy.ts'
import { makeCertificate } from './certificate.ts'
import { addRule, openOffice } from './office.ts'
import { type Script, startScriptedHop } from './scripted-hop.ts'

t.setTimeout(60_000)

/* A rule may say that what passes goes over verified TLS only. */
const certificate = await makeCertificate('hop.example')
const verify: TlsPolicy = { mode: 'verify', name: 'hop.example', ca: [certificate.ca] }
const secure = { tls: certificate, ehlo: ['STARTTLS', 'SIZE'] }
const text = Buffer.from('Subject: hello\r\n\r\nline\r\n')
const delivery: Delivery = {
  sender: 'anna@acme.example',
  recipients: ['bo@example.org'],
  mail: {
    ...{ size: text.length, smtputf8: false, eightBit: false },
    async *open() {
      yield text
    },
  },
}

async function deliver(t: Test, script: Script, tls: TlsPolicy, demand: NonNullable<Delivery['tls']>) {
  const hop = await startScriptedHop(script)
  const courier = createSmtpCourier({ host: '127.0.0.1', port: hop.port, helo: 'gw.acme.example', tls })
  t.teardown(async () => {
    await courier.close()
    await hop.close()
  })
  const [result] = (await courier.deliver({ ...delivery, tls: demand })).results
  return { result, mails: hop.commands.filter((command) => command.startsWith('MAIL')), contents: hop.contents }
}

t.test('over TLS that is verified or pinned the mail goes', async (t) => {
  for (const policy of [verify, { mode: 'pin', spki: [certificate.pin] } as const]) {
    const { result, contents } = await deliver(t, secure, policy, 'next-hop')
    t.match(result, { outcome: 'sent' }, policy.mode)
    t.equal(contents.length, 1)
  }
})

t.test('where the next hop takes TLS away, or shows another certificate, it waits', async (t) => {
  const other = await makeCertificate('other.example')
  for (const script of [{ ehlo: ['SIZE'] }, { ...secure, tls: other }]) {
    const { result, mails } = await deliver(t, script, verify, 'next-hop')
    t.match(result, { outcome: 'deferred', remote: false })
    t.same(mails, [], 'not even the addresses are said')
  }
})

t.test('where the next hop is not to be verified it is refused, before anything is said of it', async (t) => {
  for (const policy of [{ mode: 'opportunistic' }, { mode: 'none' }] as const) {
    const { result, mails } = await deliver(t, secure, policy, 'next-hop')
    t.match(result, { outcome: 'failed', code: 550, enhanced: '5.7.4' }, policy.mode)
    t.same(mails, [])
  }
})

t.test('all the way to the recipient goes with REQUIRETLS, or not at all', async (t) => {
  const promising = await deliver(t, { ...secure, ehlo: ['STARTTLS', 'REQUIRETLS'] }, verify, 'recipient')
  t.match(promising.result, { outcome: 'sent' })
  t.match(promising.mails[0], / REQUIRETLS$/)
  const silent = await deliver(t, secure, verify, 'recipient')
  t.match(silent.result, { outcome: 'failed', code: 550, enhanced: '5.7.30' })
  t.same(silent.mails, [])
})

const anna = 'anna@acme.example'
const letter = (id: string) =>
  `From: ${anna}\nTo: bo@example.org\nSubject: x\nMessage-ID: <${id}@acme.example>\n\nthe words\n`
const rule = '  - { name: partner, when: "recipient.domain == \'partner.example\'", then: pass, tls: required }'

t.test('a rule with tls: required keeps clear text from a next hop that is not verified', async (t) => {
  const office = await openOffice(t)
  await addRule(office, rule)
  await office.stopKeyServer()
  await office.startKeyServer()
  t.match(await office.send(anna, ['bo@partner.example'], letter('inline')), /^550 5\.7\.4 .*verified TLS only/)
  t.same(office.mails, [])
  t.match(await office.send(anna, ['carl@acme.example'], letter('inside')), /^250/, 'other rules pass as before')
  t.equal(office.mails.length, 1)
})

t.test('what lies in the spool keeps the demand, over a restart, too', async (t) => {
  const spool = { retrySeconds: 1, retryMostSeconds: 1 }
  const office = await openOffice(t, {}, { listener: { delivery: 'spool' }, gateway: { spool } })
  await addRule(office, rule)
  await office.stopKeyServer()
  await office.startKeyServer()
  // The queue does not move while the provider is away.
  await office.stopProvider()
  t.match(await office.send(anna, ['bo@partner.example'], letter('kept')), /^250 .*kept here/)
  await office.gateway.close()
  const hop = await startScriptedHop({})
  t.teardown(() => hop.close())
  const config = loadConfig(office.configFile)
  const [org] = config.organizations
  if (org === undefined) throw new Error('the office has an organization')
  const nextHop = { ...org.nextHop, port: hop.port }
  const again = { ...config, organizations: [{ ...org, nextHop }], copies: { ...config.copies, port: 0 } }
  const lines: string[] = []
  const log = createLog('info', { write: (line: string) => lines.push(line) } as never)
  const gateway = await startGateway(again, log)
  t.teardown(() => gateway.close())
  for (let i = 0; i < 100 && !hop.contents.some((one) => one.includes('5.7.4')); i++) await sleep(100)
  const bounce = hop.contents.find((one) => one.includes('5.7.4'))
  t.match(bounce, /verified TLS only/, 'the sender is told')
  t.notMatch(hop.contents.join(''), 'the words')
})
