import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import { parseAddressList } from '../../gateway/address-list.ts'
import type { Courier } from '../../gateway/courier.ts'
import { createGmailCourier } from '../../gateway/courier-gmail.ts'
import { createGraphCourier } from '../../gateway/courier-graph.ts'
import { createSmtpCourier } from '../../gateway/courier-smtp.ts'
import { parseHeader } from '../../gateway/header.ts'
import { createLog } from '../../gateway/log.ts'
import { openMxDelivery } from '../../gateway/mx-delivery.ts'
import { createClientCredentialsTokens } from '../../gateway/oauth-client-credentials.ts'
import { createServiceAccountTokens } from '../../gateway/oauth-service-account.ts'
import { courierContract, type Errand, type Mood } from './courier-contract.ts'
import { gmailFault, startGmailServer } from './gmail-server.ts'
import { fault, startGraphServer } from './graph-server.ts'
import { startNameServer } from './name-server.ts'
import { startScriptedHop } from './scripted-hop.ts'

const helo = 'gw1.acme.example'

/** By SMTP, which also takes what the others cannot. */
async function openSmtp(
  t: Test,
  courierTo = async (port: number): Promise<Courier> => createSmtpCourier({ host: '127.0.0.1', port, helo }),
): Promise<Errand> {
  let mood: Mood = 'takes'
  const taken: { text: string; recipients: string[] }[] = []
  const recipients: string[] = []
  const hop = await startScriptedHop({
    answer(command) {
      const [, recipient] = /^RCPT TO:<(.*)>/.exec(command) ?? []
      if (command.startsWith('MAIL')) recipients.length = 0
      if (recipient !== undefined) recipients.push(recipient)
      if (mood === 'refuses' && recipient !== undefined) return '550 5.7.1 no\r\n'
      return mood === 'is busy' && recipient !== undefined ? '451 4.3.2 busy\r\n' : undefined
    },
    content(content) {
      taken.push({ text: content.slice(0, -3).replace(/^\./gm, ''), recipients: [...recipients] })
      return mood === 'loses its answer' ? null : '250 2.0.0 queued\r\n'
    },
  })
  let running = true
  const stop = async () => {
    if (running) await hop.close()
    running = false
  }
  const courier = await courierTo(hop.port)
  t.teardown(async () => {
    await courier.close()
    await stop()
  })
  return {
    courier,
    delivered: () => taken,
    async be(next) {
      mood = next
      if (next === 'is away') await stop()
    },
  }
}

function withoutBcc(mime: Buffer): { text: string; recipients: string[] } {
  const text = mime.toString('latin1').replace(/^Bcc: .*\r\n(?: .*\r\n)*/, '')
  const fields = parseHeader(mime)?.fields ?? []
  const named = fields.filter(({ key }) => key === 'to' || key === 'cc' || key === 'bcc')
  return { text, recipients: named.flatMap(({ value }) => parseAddressList(value) ?? []) }
}

t.test('by SMTP', async (t) => courierContract(t, openSmtp))

t.test("by SMTP to the recipients' own servers", async (t) => {
  const open = async (t: Test) => {
    const zone = { 'example.org MX': ['10 mx.example.org'], 'mx.example.org A': ['127.0.0.1'] }
    const dns = await startNameServer(t, zone)
    const file = join(t.testdir(), 'sts.json')
    const config = { ...{ helo, connections: 5, resolver: [dns.server] }, validating: false, ca: null, here: true }
    const log = createLog('error', new PassThrough())
    return openSmtp(t, (port) =>
      openMxDelivery({ config: { ...config, port }, file, budgetMs: 10_000, domains: () => ['example.org'], log }),
    )
  }
  courierContract(t, open, ['bo@example.org', 'cy@example.org'])
})

t.test('by Microsoft Graph', async (t) =>
  courierContract(t, async (t) => {
    const [server, smtp] = await Promise.all([startGraphServer(), openSmtp(t)])
    t.teardown(() => server.close())
    const tokens = createClientCredentialsTokens({
      ...{ authority: server.origin, tenant: 'directory-1', clientId: 'app-1', clientSecret: 'very secret' },
      scope: `${server.origin}/.default`,
    })
    const limits = { budgetMs: 2_000, lookMs: 600 }
    const courier = createGraphCourier({
      endpoint: server.origin,
      tokens,
      otherwise: smtp.courier,
      mailboxes: null,
      ...limits,
    })
    return {
      courier,
      delivered: () => [...server.sent().map(({ mime }) => withoutBcc(mime)), ...smtp.delivered()],
      async be(mood) {
        if (mood === 'refuses')
          server.trick(/\/send$/, fault(403, 'ErrorSendAsDenied', 'You may not send as that mailbox.'))
        if (mood === 'is busy')
          server.trick(/messages$/, { ...fault(429, 'ApplicationThrottled', 'busy'), headers: { 'retry-after': '60' } })
        if (mood === 'loses its answer') server.trick(/\/send$/, 'lose')
        if (mood === 'is away') await server.close()
      },
    }
  }),
)

t.test('by Gmail', async (t) =>
  courierContract(t, async (t) => {
    const [server, smtp] = await Promise.all([startGmailServer(), openSmtp(t)])
    t.teardown(() => server.close())
    const scopes = ['https://www.googleapis.com/auth/gmail.send', 'https://www.googleapis.com/auth/gmail.readonly']
    const tokens = createServiceAccountTokens({ ...server.account, tokenUrl: `${server.origin}/token`, scopes })
    const limits = { budgetMs: 2_000, lookMs: 600 }
    const courier = createGmailCourier({
      endpoint: server.origin,
      tokens,
      otherwise: smtp.courier,
      mailboxes: null,
      ...limits,
    })
    return {
      courier,
      delivered: () => [...server.messages.map(({ raw }) => withoutBcc(raw)), ...smtp.delivered()],
      async be(mood) {
        if (mood === 'refuses') server.trick(/messages\/send/, gmailFault(400, 'invalidArgument', 'Invalid To header'))
        if (mood === 'is busy')
          server.trick(/messages\/send/, {
            ...gmailFault(429, 'rateLimitExceeded', 'busy'),
            headers: { 'retry-after': '60' },
          })
        if (mood === 'loses its answer') server.trick(/messages\/send/, 'lose')
        if (mood === 'is away') await server.close()
      },
    }
  }),
)
