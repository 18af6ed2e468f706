import { simpleParser } from 'mailparser'
import t, { type Test } from 'tap'
import { lessPrivateFields } from './corpus.ts'
import { openDialogue, sendOnce } from './dialogue.ts'
import { openScene, policyOf, type Scene } from './house.ts'
import { envelopeIn, type Sink, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(90_000)

/*
 * Addresses that ASCII cannot carry (RFC 6531), through a house of real processes to a provider that offers SMTPUTF8 and to one that does not.
 * Codes go through the gateway as well. Mail to colleagues passes, mail to example.net is held.
 */
const zoe = 'zoë@acme.example'
const anna = 'anna@acme.example'
const yuliya = 'юлия@example.org'
const bob = 'bob@example.org'
const parameters = ' SMTPUTF8 BODY=8BITMIME'
const policy = policyOf([
  '{name: colleagues, when: recipient.internal, then: pass}',
  "{name: looked-at, when: recipient.domain == 'example.net', then: hold, because: We look at these first.}",
])

async function open(t: Test, smtpUtf8: boolean, delivery = 'inline'): Promise<{ sink: Sink; scene: Scene }> {
  const sink = await startSink({ smtpUtf8 })
  const clients = [{ org: 'acme.example', from: 'anyone' }]
  const scene = await openScene(t, {
    ...{ sink, policy },
    keyserver: ({ smtp }) => ({ mail: { host: '127.0.0.1', port: smtp, security: 'none' } }),
    gateway: ({ smtp }) => ({
      listeners: [{ name: 'smtp-1', host: '127.0.0.1', port: smtp, clients, delivery }],
      spool: { retrySeconds: 1 },
    }),
  })
  return { sink, scene }
}

const letter = (author: string, to: readonly string[], id: string) =>
  Buffer.from(
    `From: Zoë <${author}>\r\nTo: ${to.join(', ')}\r\nSubject: Grüße\r\nMessage-ID: <${id}@acme.example>\r\n` +
      'Content-Type: text/plain; charset=utf-8\r\n\r\nDas weiß außer uns niemand.\r\n',
  )

async function send({ sink, scene }: { sink: Sink; scene: Scene }, author: string, to: readonly string[], id: string) {
  const before = sink.deliveries.length
  const octets = letter(author, to, id)
  const said = await sendOnce(scene.house.ports.smtp, { from: author, to, octets, parameters })
  return { said, octets, got: sink.deliveries.slice(before) }
}

t.test('to a provider that takes such addresses', async (t) => {
  const house = await open(t, true)
  const { sink, scene } = house

  await t.test('a sealed mail keeps them outside, and its recipient opens it with a code', async (t) => {
    const { said, octets, got } = await send(house, zoe, [yuliya], '1')
    t.match(said, /^250 /)
    const [mail] = got
    t.match(mail, { sender: zoe, recipients: [yuliya], smtpUtf8: true })
    const text = mail?.octets.toString('utf8') ?? ''
    t.match(text, `To: ${yuliya}\r\n`)
    t.match(text, new RegExp(`^From: .*<${zoe}>\\r$`, 'm'))
    t.notMatch(text, /niemand/)
    const envelope = envelopeIn(mail?.octets ?? Buffer.alloc(0))
    for (const person of [yuliya, zoe]) {
      const reader = await scene.prove(envelope, person)
      const opened = await reader.open(envelope, sealedCopyIn(mail?.octets ?? Buffer.alloc(0)))
      t.ok(Buffer.from(opened.message).equals(lessPrivateFields(octets)), person)
    }
  })

  await t.test('a passed mail goes on as it was', async (t) => {
    const { said, octets, got } = await send(house, anna, [zoe], '2')
    t.match(said, /^250 /)
    t.match(got, [{ recipients: [zoe], smtpUtf8: true }])
    t.ok(got[0]?.octets.toString('latin1').endsWith(octets.toString('latin1')))
  })

  await t.test('a bounce and a notice of held mail reach whoever sent it', async (t) => {
    sink.script.refuse = (recipient) => (recipient === yuliya ? '550 5.1.1 nobody' : null)
    for (const [author, smtpUtf8] of [
      [anna, false],
      [zoe, true],
    ] as const) {
      const { said, got } = await send(house, author, [yuliya, bob], `3-${smtpUtf8}`)
      t.match(said, /^250 /)
      const bounce = got.find(({ sender }) => sender === '')
      t.match(bounce, { recipients: [author], smtpUtf8 })
      t.match((await simpleParser(bounce?.octets ?? '')).text, yuliya)
      t.match((await send(house, author, ['юрий@example.net'], `4-${smtpUtf8}`)).said, /^250 .*held/)
      const notice = await sink.wait('the notice', ({ sender, recipients, octets }) => {
        return sender === '' && recipients.includes(author) && octets.includes(`<4-${smtpUtf8}@`)
      })
      t.match((await simpleParser(notice.octets)).text, 'юрий@example.net')
    }
    sink.script.refuse = () => null
  })

  await t.test('a client that does not say SMTPUTF8 may not use them', async (t) => {
    const mail = { from: anna, to: [yuliya], octets: letter(anna, [yuliya], '5') }
    t.match(await sendOnce(scene.house.ports.smtp, mail), /^553 5\.6\.7 /)
  })
})

t.test('to a provider that does not', async (t) => {
  const house = await open(t, false)
  t.match((await send(house, anna, [yuliya], '6')).said, /^553 5\.6\.7 /, 'before the provider was met')
  t.match((await send(house, zoe, [bob], '7')).said, /^553 5\.6\.7 /, 'a sender')
  const client = await openDialogue(house.scene.house.ports.smtp)
  t.notMatch(await client.say('EHLO client.acme.example'), 'SMTPUTF8', 'and then it is not announced')
  await client.quit()
  t.same(house.sink.seen, [])
})

t.test('what was kept, and then cannot go there, comes back to its sender', async (t) => {
  const house = await open(t, false, 'spool')
  t.match((await send(house, anna, [yuliya, bob], '8')).said, /^250 /)
  const bounce = await house.sink.wait('the bounce', ({ sender }) => sender === '')
  t.match(bounce, { recipients: [anna], smtpUtf8: false })
  const { text } = await simpleParser(bounce.octets)
  t.match(text, `- ${yuliya}`)
  t.match(text, /5\.6\.7/)
  t.equal(house.sink.deliveries.length, 1, 'and nothing else')
})
