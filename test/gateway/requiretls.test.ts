import t from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { composeBounce } from '../../gateway/bounce.ts'
import { readCapabilities } from '../../gateway/capabilities.ts'
import { createSmtpCourier } from '../../gateway/courier-smtp.ts'
import { wishesOf } from '../../gateway/dsn.ts'
import { createOffers } from '../../gateway/offers.ts'
import type { TlsPolicy } from '../../gateway/tls-policy.ts'
import { makeCertificate } from './certificate.ts'
import { openDialogue } from './dialogue.ts'
import { openOffice } from './office.ts'
import { always, open, org, other } from './open-listener.ts'
import { startScriptedHop } from './scripted-hop.ts'

const mail = 'From: anna@acme.example\r\nSubject: hello\r\n\r\nfirst line\r\n'
const now = new Date()
const pair = await issuePair(await createAuthority(now), { kind: 'server', names: ['localhost'] }, now)
const tls = { mode: 'starttls', certificate: pair.cert, key: pair.key } as const

async function openSecure(port: number) {
  const client = await openDialogue(port)
  await client.reply()
  const clear = await client.say('EHLO client.example')
  await client.say('STARTTLS')
  await client.startTls()
  return { client, clear, secure: await client.say('EHLO client.example') }
}

t.test('REQUIRETLS is announced within TLS where the next hop promises it, and is carried on', async (t) => {
  const { port, taken } = await open(t, { tls }, { offers: always({ requireTls: true }) })
  const { client, clear, secure } = await openSecure(port)
  t.notMatch(clear, 'REQUIRETLS')
  t.match(secure, 'REQUIRETLS')
  t.match(await client.say('MAIL FROM:<anna@acme.example> REQUIRETLS'), /^250/)
  await client.say('RCPT TO:<b@example.org>')
  await client.say('DATA')
  client.write(`${mail}.\r\n`)
  t.match(await client.reply(), /^250/)
  t.equal(taken[0]?.intake.wish.requireTls, true)
  await client.upToData('anna@acme.example', 'b@example.org')
  client.write(`${mail}.\r\n`)
  t.match(await client.reply(), /^250/)
  t.equal(taken[1]?.intake.wish.requireTls, undefined, 'and not for the next mail, which did not ask')
  client.destroy()
})

t.test('without TLS, or to a next hop that does not promise it, REQUIRETLS is refused', async (t) => {
  const { port } = await open(t, { tls }, { offers: always({ requireTls: false }) })
  const { client, secure } = await openSecure(port)
  t.notMatch(secure, 'REQUIRETLS')
  t.match(await client.say('MAIL FROM:<anna@acme.example> REQUIRETLS'), /^550 5\.7\.30 /)
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^250 /)
  client.destroy()
  const clear = await openDialogue(port)
  await clear.reply()
  await clear.say('EHLO client.example')
  t.match(await clear.say('MAIL FROM:<anna@acme.example> REQUIRETLS'), /^530 /)
  clear.destroy()
})

t.test('the next hop is told REQUIRETLS over verified TLS, or gets no mail', async (t) => {
  const certificate = await makeCertificate('hop.example')
  const verify: TlsPolicy = { mode: 'verify', name: 'hop.example', ca: [certificate.ca] }
  const octets = Buffer.from(mail)
  const delivery = {
    sender: 'anna@acme.example',
    recipients: ['b@example.org'],
    wishes: { ret: null, envid: null, requireTls: true, of: new Map() },
    mail: {
      ...{ size: octets.length, smtputf8: false, eightBit: false },
      async *open() {
        yield octets
      },
    },
  }
  const cases = [
    ['promised', ['STARTTLS', 'SIZE', 'REQUIRETLS'], verify, 250],
    ['not promised', ['STARTTLS', 'SIZE'], verify, 550],
    ['promised, whoever that is', ['STARTTLS', 'REQUIRETLS'], { mode: 'opportunistic' } as const, 550],
    ['promised in clear', ['REQUIRETLS'], { mode: 'none' } as const, 550],
  ] as const
  for (const [what, ehlo, policy, code] of cases) {
    const hop = await startScriptedHop({ tls: certificate, ehlo })
    const courier = createSmtpCourier({ host: '127.0.0.1', port: hop.port, helo: 'gw.acme.example', tls: policy })
    const { results } = await courier.deliver(delivery)
    t.equal(results[0]?.code, code, what)
    if (code === 550) t.equal(results[0]?.enhanced, '5.7.30')
    const said = hop.commands.filter((command) => command.startsWith('MAIL'))
    t.strictSame(
      said.map((command) => command.includes(' REQUIRETLS')),
      code === 250 ? [true] : [],
    )
    await courier.deliver({ ...delivery, wishes: { ...delivery.wishes, requireTls: false } })
    t.notMatch(hop.commands.filter((command) => command.startsWith('MAIL')).at(-1), 'REQUIRETLS')
    await courier.close()
    await hop.close()
  }
})

t.test('a bounce is protected as the mail was', (t) => {
  const result = {
    recipient: 'b@example.org',
    outcome: 'failed',
    code: 550,
    enhanced: '5.1.1',
    text: 'no',
    remote: true,
  } as const
  const parts = {
    ...{
      org,
      organization: 'Acme',
      host: 'gw.acme.example',
      sender: 'anna@acme.example',
      failed: [result],
      fields: [],
    },
    ...{ stamp: null, nextHop: 'hop.example', arrivedAt: now, now },
  }
  const wish = { ret: null, envid: null, requireTls: true }
  t.equal(composeBounce({ ...parts, wishes: wishesOf(wish, []) }).wishes?.requireTls, true)
  t.equal(composeBounce(parts).wishes, undefined)
  t.end()
})

t.test('what is announced is what can be delivered', async (t) => {
  const hop = (...offers: string[]) => {
    const map = new Map(offers.map((offer) => offer.split('=') as [string, string]))
    return { courier: { capabilities: () => readCapabilities(map, true, true) } }
  }
  const unknown = { courier: { capabilities: () => null } }
  const sealing = { default: 'seal', outbound: [] } as const
  const passing = { default: 'pass', outbound: [] } as const
  const offersOf = (one: typeof unknown | ReturnType<typeof hop>, policy: typeof sealing | typeof passing | null) =>
    createOffers({ organizations: new Map([[org, one]]), policyOf: () => policy, sizeLimit: 50_000_000 }).of(org)

  t.strictSame(offersOf(unknown, null), { size: 50_000_000, smtpUtf8: true, eightBit: true, requireTls: null })
  const small = hop('SIZE=1000000')
  t.equal(offersOf(small, passing).size, 1_000_000 - 8192, 'what passes must fit the next hop, with what we add')
  t.equal(offersOf(small, sealing).size, 50_000_000, 'what is sealed can go by link')
  t.equal(offersOf(hop('SIZE=99000000'), passing).size, 50_000_000)
  t.equal(offersOf(hop('SIZE'), passing).size, 50_000_000, 'no number, no limit')
  t.equal(offersOf(small, passing).eightBit, false)
  t.equal(offersOf(small, sealing).eightBit, true)
  t.equal(offersOf(small, sealing).smtpUtf8, false)
  t.equal(offersOf(hop('REQUIRETLS='), sealing).requireTls, true)
  const two = new Map([
    [org, small],
    [other, hop('SMTPUTF8=', 'SIZE=2000000', '8BITMIME=')],
  ])
  const both = createOffers({ organizations: two, policyOf: () => passing, sizeLimit: 50_000_000 }).any()
  t.strictSame(both, { size: 2_000_000 - 8192, smtpUtf8: true, eightBit: true, requireTls: false })
  t.end()
})

t.test('EHLO says what holds now, and MAIL what holds for this organization', async (t) => {
  let size = 3_000_000
  const any = () => ({ size, smtpUtf8: size > 1000, eightBit: size > 1000, requireTls: false })
  const { port } = await open(t, {}, { offers: { any, of: () => ({ ...any(), size: 2000 }) } })
  const client = await openDialogue(port)
  await client.reply()
  const before = await client.say('EHLO client.example')
  t.match(before, 'SIZE 3000000')
  t.match(before, 'SMTPUTF8')
  t.match(await client.say('MAIL FROM:<anna@acme.example> SIZE=2001'), /^552 5\.3\.4 at most 2000 octets/)
  size = 1000
  const after = await client.say('EHLO client.example')
  t.match(after, 'SIZE 1000')
  t.notMatch(after, /SMTPUTF8|8BITMIME/)
  client.destroy()
})

t.test('TLS-Required: No goes along for servers further on, and loosens nothing here', async (t) => {
  const office = await openOffice(t)
  const text = `From: anna@acme.example\nTo: b@example.org\nTLS-Required: No\nSubject: hello\n\nfirst line\n`
  t.match(await office.send('anna@acme.example', ['b@example.org'], text), /^250/)
  t.match(office.mails[0]?.text, /^TLS-Required: No\r$/m)
})
