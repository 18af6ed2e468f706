import { randomBytes } from 'node:crypto'
import PostalMime from 'postal-mime'
import t, { type Test } from 'tap'
import { base64Lines } from '../../gateway/base64-lines.ts'
import type { ClientCertificate } from '../../gateway/client-assertion.ts'
import type { Courier, Delivery } from '../../gateway/courier.ts'
import type { ApiCourierOptions } from '../../gateway/courier-by-header.ts'
import { createGraphCourier } from '../../gateway/courier-graph.ts'
import { createClientCredentialsTokens } from '../../gateway/oauth-client-credentials.ts'
import type { Address } from '../../protocol/identifiers.ts'
import { makeApplicationCertificate } from './application-certificate.ts'
import { deliveryOf, letter, mailOf } from './courier-contract.ts'
import { fault, startGraphServer } from './graph-server.ts'

const both = ['bo@example.org', 'cy@example.net']

/** Notes what it is given, as the SMTP courier behind. */
function noting() {
  const deliveries: Delivery[] = []
  const courier: Courier = {
    async deliver(delivery) {
      deliveries.push(delivery)
      const results = delivery.recipients.map((recipient) => {
        return { recipient, outcome: 'sent', code: 250, enhanced: '2.0.0', text: 'by SMTP', remote: true } as const
      })
      return { results, nextHop: 'smtp.example' }
    },
    capabilities: () => null,
    close: async () => undefined,
  }
  return { courier, deliveries }
}

type Options = Partial<ApiCourierOptions> & { secret?: string; clientCertificate?: ClientCertificate }

async function open(t: Test, options: Options = {}) {
  const server = await startGraphServer(['anna@acme.example', 'ben@acme.example'])
  t.teardown(() => server.close())
  const smtp = noting()
  const tokens = createClientCredentialsTokens({
    ...{ authority: server.origin, tenant: 'directory-1', clientId: 'app-1' },
    ...{ scope: `${server.origin}/.default` },
    ...(options.clientCertificate === undefined
      ? { clientSecret: options.secret ?? 'very secret' }
      : { clientCertificate: options.clientCertificate }),
  })
  const courier = createGraphCourier({
    ...{ endpoint: server.origin, tokens, otherwise: smtp.courier, mailboxes: null, budgetMs: 5_000, lookMs: 800 },
    ...options,
  })
  const deliver = async (delivery: Delivery = deliveryOf(both)) => {
    const { results, nextHop } = await courier.deliver(delivery)
    const [first] = results
    if (first === undefined) throw new Error('no result')
    return { ...first, nextHop }
  }
  return { server, smtp, courier, deliver }
}

/** A mail as the composer builds it, with an envelope of so many octets. */
function sealedMail(size: number) {
  const envelope = randomBytes(size)
  const head =
    letter(both, { body: '' }).replace(/\r\n\r\n$/, '\r\n') +
    'Content-Type: multipart/mixed;\r\n boundary="=_b"\r\n\r\n--=_b\r\nContent-Type: text/plain\r\n\r\nthe notice\r\n' +
    '--=_b\r\nContent-Type: application/vnd.sealpost;\r\n name="protected-message.sealpost"\r\n' +
    'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n filename="protected-message.sealpost"\r\n\r\n'
  const octets = Buffer.concat([Buffer.from(head), base64Lines(envelope), Buffer.from('--=_b--\r\n')])
  const chunks = Array.from({ length: Math.ceil(octets.length / 100_001) }, (_, i) =>
    octets.subarray(i * 100_001, (i + 1) * 100_001),
  )
  return { envelope, mail: mailOf(chunks) }
}

t.test('a draft with an immutable id is made and sent, with one token for many mails', async (t) => {
  const { server, deliver } = await open(t)
  t.match(await deliver(), { outcome: 'sent', text: /request 4ff1-77aa/, nextHop: '127.0.0.1' })
  await deliver()
  t.equal(server.tokens.size, 1)
  t.same(
    server.asked.slice(0, 3).map((line) => line.replace(/messages\/.*\//, 'messages/id/')),
    [
      'POST /directory-1/oauth2/v2.0/token',
      'POST /v1.0/users/anna@acme.example/messages',
      'POST /v1.0/users/anna@acme.example/messages/id/send',
    ],
  )
})

t.test('a token that is refused is fetched anew, once', async (t) => {
  const { server, deliver } = await open(t)
  await deliver()
  server.tokens.clear()
  t.equal((await deliver()).outcome, 'sent')
  t.equal(server.tokens.size, 1)
  server.trick(/messages$/, fault(401, 'x', 'x'), fault(401, 'x', 'x'))
  t.match(await deliver(), { outcome: 'deferred', code: 454, enhanced: '4.7.0' })
})

t.test('an application with a certificate signs an assertion of its own for each token', async (t) => {
  const pair = await makeApplicationCertificate()
  const { server, deliver } = await open(t, { clientCertificate: pair })
  server.certificate = pair.cert
  t.equal((await deliver()).outcome, 'sent')
  server.tokens.clear()
  t.equal((await deliver()).outcome, 'sent')
  server.tokens.clear()
  server.certificate = (await makeApplicationCertificate()).cert
  const refused = await deliver()
  t.match(refused, { outcome: 'deferred', enhanced: '4.7.0', text: /HTTP 401: invalid_client/ }, 'of another key')
  t.notMatch(JSON.stringify(refused), /eyJ/, 'no part of an assertion is told')
})

t.test('without a token everybody is deferred, and the words hold no secret', async (t) => {
  const { deliver, server } = await open(t, { secret: 'very wrong secret' })
  const result = await deliver()
  t.match(result, {
    outcome: 'deferred',
    enhanced: '4.7.0',
    text: 'the token endpoint refused (HTTP 401: invalid_client)',
  })
  t.notMatch(JSON.stringify(result), /very/)
  t.equal(server.messages.length, 0)
})

t.test('errors of Graph are what they mean', async (t) => {
  const { server, deliver } = await open(t)
  const cases = [
    [/send$/, fault(403, 'ErrorSendAsDenied', 'no'), 'failed', '5.7.60'],
    [/messages$/, fault(400, 'ErrorInvalidRecipients', 'no'), 'failed', '5.1.3'],
    [/messages$/, fault(413, 'RequestEntityTooLarge', 'no'), 'failed', '5.3.4'],
    [/messages$/, { status: 200 }, 'failed', '5.3.4'],
    [/messages$/, fault(400, 'ErrorMimeContentInvalid', 'no'), 'failed', '5.6.0'],
    [/messages$/, fault(403, 'ErrorQuotaExceeded', 'full'), 'deferred', '4.2.2'],
    [/send$/, fault(403, 'ErrorAccessDenied', 'no right'), 'deferred', '4.7.0'],
    [/messages$/, fault(503, 'ServiceUnavailable', 'later'), 'deferred', '4.3.0'],
    [/messages$/, { status: 502, body: '<html>' }, 'deferred', '4.3.0'],
    [/messages$/, 'drop', 'deferred', '4.4.2'],
  ] as const
  for (const [which, trick, outcome, enhanced] of cases) {
    server.trick(which, trick)
    t.match(await deliver(), { outcome, enhanced }, `${outcome} ${enhanced}`)
    t.equal(server.messages.length, 0, 'no draft is left behind')
  }
})

t.test('a sender without a mailbox there goes by SMTP', async (t) => {
  const { smtp, deliver } = await open(t)
  const from = 'printer@acme.example'
  const delivery = deliveryOf(both, { sender: from, mail: mailOf(letter(both, { from })) })
  t.match(await deliver(delivery), { outcome: 'sent', text: 'by SMTP' })
  t.same(smtp.deliveries, [delivery])
})

t.test('an attempt of such a sender whose answer was lost is made again by SMTP', async (t) => {
  const { smtp, deliver } = await open(t)
  const from = 'office@acme.example'
  const delivery = { sender: from, mail: mailOf(letter(both, { from })), again: true }
  t.match(await deliver(deliveryOf(both, delivery)), { outcome: 'sent', text: 'by SMTP' })
  t.equal(smtp.deliveries[0]?.again, true)
})

t.test('only the mailboxes that are configured go this way', async (t) => {
  const { smtp, server, deliver } = await open(t, { mailboxes: new Set(['ben@acme.example' as Address]) })
  await deliver()
  t.equal(smtp.deliveries.length, 1)
  t.same(server.asked, [])
})

t.test('429 is waited out as Retry-After says, within the time that the delivery has', async (t) => {
  const { server, deliver } = await open(t)
  const throttled = { ...fault(429, 'ApplicationThrottled', 'slower'), headers: { 'retry-after': '1' } }
  server.trick(/messages$/, throttled)
  server.trick(/send$/, throttled)
  const started = performance.now()
  t.equal((await deliver()).outcome, 'sent')
  t.ok(performance.now() - started > 1_900)
  server.trick(/messages$/, { ...throttled, headers: { 'retry-after': '30' } })
  t.match(await deliver(), { outcome: 'deferred', enhanced: '4.3.2' })
  server.trick(/messages$/, { ...throttled, headers: { 'retry-after': '3' } })
  const signal = AbortSignal.timeout(200)
  t.match(await deliver(deliveryOf(both, { signal })), { outcome: 'deferred' })
})

t.test('429 whose Retry-After is over already is not answered by request upon request', async (t) => {
  const past = new Date(Date.now() - 600_000).toUTCString()
  for (const over of [past, '0']) {
    const { server, deliver } = await open(t, { budgetMs: 1_500 })
    const throttled = { ...fault(429, 'ApplicationThrottled', 'slower'), headers: { 'retry-after': over } }
    server.trick(/messages$/, ...Array.from({ length: 20 }, () => throttled))
    t.match(await deliver(), { outcome: 'deferred', enhanced: '4.3.2' }, over)
    t.equal(server.asked.filter((line) => line.endsWith('/messages')).length, 2, over)
  }
})

t.test('no more than four at a time for one mailbox', async (t) => {
  const { server, courier } = await open(t)
  server.delayMs = 20
  const reports = await Promise.all(Array.from({ length: 12 }, () => courier.deliver(deliveryOf(both))))
  t.ok(reports.every(({ results }) => results.every(({ outcome }) => outcome === 'sent')))
  t.equal(server.sent().length, 12)
  t.ok(server.most() <= 4, `${server.most()} at a time`)
})

t.test('after a lost answer the draft says what became of it', async (t) => {
  const { server, deliver } = await open(t)
  server.trick(/send$/, 'lose')
  t.match(await deliver(), { outcome: 'sent', text: /found in Sent Items/ }, 'carried out')
  server.trick(/send$/, 'drop')
  t.match(await deliver(), { outcome: 'deferred', text: /withdrawn/ }, 'not carried out')
  server.trick(/send$/, { status: 504, body: 'gateway timeout' })
  t.match(await deliver(), { outcome: 'deferred', text: /withdrawn/ }, 'answered by something in between')
  for (const status of [200, 204]) {
    server.trick(/send$/, { status })
    t.match(await deliver(), { outcome: 'deferred', text: /withdrawn/ }, `${status} is not the answer that a send has`)
  }
  t.equal(server.messages.length, 1, 'nothing is left that could be sent')
})

t.test('a send that is carried out late is seen; one that is later still finds no draft any more', async (t) => {
  const { server, deliver } = await open(t, { requestMs: 150 })
  server.trick(/send$/, { late: 300 })
  t.match(await deliver(), { outcome: 'sent' })
  server.trick(/send$/, { late: 1_500 })
  t.match(await deliver(), { outcome: 'deferred' })
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  t.equal(server.sent().length, 1)
})

t.test('it is unknown only where Graph cannot be asked', async (t) => {
  const { server, deliver } = await open(t)
  server.trick(/send$/, 'lose')
  server.trick(/^GET/, ...Array.from({ length: 20 }, () => 'drop' as const))
  t.match(await deliver(), { outcome: 'unknown' })
})

t.test('a delivery that is given up while it is sent is settled all the same', async (t) => {
  const { server, deliver } = await open(t)
  server.trick(/send$/, 'hang')
  t.match(await deliver(deliveryOf(both, { signal: AbortSignal.timeout(200) })), { outcome: 'sent' })
  t.equal(server.sent().length, 1)
})

t.test('what an earlier attempt sent is found by Message-ID, stamp and recipients, and not sent again', async (t) => {
  const { server, deliver } = await open(t)
  await deliver()
  const again = deliveryOf(both, { again: true })
  t.match(await deliver(again), { outcome: 'sent', text: /earlier attempt/ })
  t.equal(server.sent().length, 1)
  const other = ['dee@example.org']
  t.match(await deliver(deliveryOf(other, { again: true, mail: mailOf(letter(other)) })), { outcome: 'sent' })
  t.equal(server.sent().length, 2, 'other recipients are another mail')
  server.keepsHeaders = false
  await deliver(again)
  t.equal(server.sent().length, 3, "the sender's own clear copy, without our stamp, is none of ours")
  server.trick(/^GET/, 'drop')
  t.match(await deliver(again), { outcome: 'unknown' }, 'who cannot look does not send')
  t.equal(server.sent().length, 3)
})

t.test('a draft that an earlier attempt left is withdrawn before the mail is sent', async (t) => {
  const { server, deliver } = await open(t)
  server.trick(/send$/, 'drop')
  server.trick(/^GET/, ...Array.from({ length: 20 }, () => 'drop' as const))
  await deliver()
  t.equal(server.messages.length, 1)
  const { server: fresh, deliver: deliverFresh } = await open(t)
  fresh.messages.push(...server.messages)
  t.match(await deliverFresh(deliveryOf(both, { again: true })), { outcome: 'sent' })
  t.equal(fresh.messages.length, 1)
})

t.test('a large sealed mail goes as a draft and an upload session, octet for octet', async (t) => {
  const { server, deliver } = await open(t)
  for (const size of [1_900_000, 3_932_160, 9_000_001]) {
    const { envelope, mail } = sealedMail(size)
    t.equal((await deliver(deliveryOf(both, { mail }))).outcome, 'sent')
    const message = server.sent().at(-1)
    t.ok(message?.attachments[0]?.content.equals(envelope), `${size} octets`)
    t.match(message?.attachments, [{ name: 'protected-message.sealpost', contentType: 'application/vnd.sealpost' }])
    const draft = await PostalMime.parse(message?.mime ?? '')
    t.match(draft, { subject: 'protected', text: /the notice/, attachments: [] })
  }
})

t.test('an upload is put again where it broke off, and where it cannot, nothing is sent', async (t) => {
  const { server, deliver } = await open(t)
  const { envelope, mail } = sealedMail(9_000_000)
  server.trick(/^PUT/, 'drop', 'lose')
  t.equal((await deliver(deliveryOf(both, { mail }))).outcome, 'sent')
  t.ok(server.sent()[0]?.attachments[0]?.content.equals(envelope))
  server.trick(/^PUT/, fault(413, 'ErrorMessageSizeExceeded', 'no'))
  t.match(await deliver(deliveryOf(both, { mail })), { outcome: 'failed', enhanced: '5.3.4' })
  server.trick(/createUploadSession/, fault(403, 'ErrorAccessDenied', 'no'))
  t.match(await deliver(deliveryOf(both, { mail })), { outcome: 'deferred' })
  t.equal(server.messages.length, 1, 'no draft is left behind')
})

t.test('a large mail of another build goes by SMTP', async (t) => {
  const { smtp, deliver } = await open(t)
  const { mail } = sealedMail(2_500_000)
  const more = { ...mail, size: mail.size + 6, open: () => followed(mail.open(), 'after\n') }
  await deliver(deliveryOf(both, { mail: more }))
  await deliver(deliveryOf(both, { mail: mailOf(letter(both, { body: 'x'.repeat(3_000_000) })) }))
  t.equal(smtp.deliveries.length, 2)
})

async function* followed(source: AsyncIterable<Uint8Array>, text: string): AsyncGenerator<Uint8Array> {
  yield* source
  yield Buffer.from(text)
}
