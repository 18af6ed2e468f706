import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createSmtpCourier } from '../../gateway/courier-smtp.ts'
import { createClientCredentialsTokens } from '../../gateway/oauth-client-credentials.ts'
import { createServiceAccountTokens } from '../../gateway/oauth-service-account.ts'
import type { TokenSource } from '../../gateway/oauth-token.ts'
import { createSignInPause } from '../../gateway/sign-in-pause.ts'
import { GreetingFault } from '../../gateway/smtp-client.ts'
import { makeCertificate } from './certificate.ts'
import { startCloudEdge } from './cloud-edge.ts'
import { deliveryOf } from './courier-contract.ts'
import { startGmailServer } from './gmail-server.ts'
import { startScriptedHop } from './scripted-hop.ts'

const user = 'anna@acme.example'
const refusal = Buffer.from('{"status":"401","schemes":"Bearer","scope":"https://mail.google.com/"}').toString('base64')

/** A next hop that takes XOAUTH2 with a token that is `good`, as Microsoft's and Google's documents say. */
async function open(t: Test, tokens: TokenSource, good: (token: string) => boolean, ways = 'LOGIN XOAUTH2') {
  const pair = await makeCertificate('hop.example')
  const asked: string[] = []
  const hop = await startScriptedHop({
    ehlo: ['PIPELINING', 'STARTTLS', `AUTH ${ways}`],
    tls: pair,
    answer(command) {
      const [, given] = /^AUTH XOAUTH2 (.*)$/.exec(command) ?? []
      if (given !== undefined) {
        const text = Buffer.from(given, 'base64').toString()
        asked.push(text)
        const [, token] = new RegExp(`^user=${user}\x01auth=Bearer (.+)\x01\x01$`).exec(text) ?? []
        return token !== undefined && good(token) ? '235 2.7.0 accepted\r\n' : `334 ${refusal}\r\n`
      }
      return command === '' ? '535 5.7.8 not accepted\r\n' : undefined
    },
  })
  const tls = { mode: 'pin', spki: [pair.pin], name: 'hop.example' } as const
  const auth = { user, tokens }
  const courier = createSmtpCourier({ host: '127.0.0.1', port: hop.port, helo: 'gw1.acme.example', tls, auth })
  t.teardown(async () => {
    await courier.close()
    await hop.close()
  })
  return { hop, asked, deliver: async () => (await courier.deliver(deliveryOf(['bo@example.org']))).results[0] }
}

/** Gives these one after the other, the last one for ever. */
function giving(...given: readonly string[]): TokenSource & { readonly forgotten: string[] } {
  const forgotten: string[] = []
  return {
    forgotten,
    token: async () => given[Math.min(forgotten.length, given.length - 1)] ?? '',
    forget: (_mailbox, token) => void forgotten.push(token),
  }
}

t.test('a token of a Google service account opens the next hop', async (t) => {
  const server = await startGmailServer([user])
  t.teardown(() => server.close())
  const scopes = ['https://mail.google.com/', 'https://www.googleapis.com/auth/gmail.send']
  const tokens = createServiceAccountTokens({ ...server.account, tokenUrl: `${server.origin}/token`, scopes })
  const { deliver } = await open(t, tokens, (token) => server.tokens.get(token) === user)
  t.match(await deliver(), { outcome: 'sent' })
})

t.test('a token of a Microsoft application does, too', async (t) => {
  const edge = await startCloudEdge(({ url, body }) => {
    const form = new URLSearchParams(body.toString())
    const right =
      url.pathname === '/directory-1/oauth2/v2.0/token' &&
      form.get('scope') === 'https://outlook.office365.com/.default'
    return {
      status: right ? 200 : 400,
      body: right ? { access_token: 'token-1', expires_in: 3600 } : { error: 'invalid_scope' },
    }
  })
  t.teardown(() => edge.close())
  const tokens = createClientCredentialsTokens({
    ...{ authority: edge.origin, tenant: 'directory-1', clientId: 'app-1', clientSecret: 'very secret' },
    scope: 'https://outlook.office365.com/.default',
  })
  const { deliver } = await open(t, tokens, (token) => token === 'token-1')
  t.match(await deliver(), { outcome: 'sent' })
})

t.test('a token that is refused is replaced once; then mail is put off', async (t) => {
  const tokens = giving('withdrawn', 'fresh')
  const { deliver, asked } = await open(t, tokens, (token) => token === 'fresh')
  t.match(await deliver(), { outcome: 'sent' })
  t.same(tokens.forgotten, ['withdrawn'])
  t.equal(asked.length, 2)
  const never = await open(t, giving('withdrawn'), () => false)
  const result = await never.deliver()
  t.match(result, { outcome: 'deferred', enhanced: '4.7.8' })
  t.notMatch(JSON.stringify(result), /withdrawn/)
})

t.test('a sign-in that is refused is not tried again with every mail', async (t) => {
  let right = false
  const { asked, deliver } = await open(t, giving('token-1'), () => right)
  for (let mails = 0; mails < 5; mails++)
    t.match(await deliver(), { outcome: 'deferred', code: 421, enhanced: '4.7.8' })
  t.equal(asked.length, 2, 'once, and once with another token')
  right = true
  await sleep(1_050)
  t.match(await deliver(), { outcome: 'sent' }, 'but after a while')
})

t.test('the pause after a refused sign-in grows, to a minute, and ends with the first that is taken', (t) => {
  let now = 0
  const pause = createSignInPause(() => now)
  const reply = { code: 535, enhanced: '5.7.8', text: 'no', lines: [] }
  const refusal = () => new GreetingFault('4.7.8', 'refused', reply)
  const pauses: number[] = []
  for (let tries = 0; tries < 9; tries++) {
    pause.ended(refusal())
    pause.ended(refusal())
    const from = now
    while (pause.fault() !== null) now += 500
    pauses.push(now - from)
  }
  t.same(
    pauses,
    [1, 2, 4, 8, 16, 32, 60, 60, 60].map((seconds) => seconds * 1_000),
    'of two at once one counts',
  )
  pause.ended(refusal())
  pause.ended(null)
  t.equal(pause.fault(), null)
  for (const passing of [
    new GreetingFault('4.7.8', 'later', { ...reply, code: 454 }),
    new GreetingFault('4.3.2', 'no', reply),
  ]) {
    pause.ended(passing)
    t.equal(pause.fault(), null, 'what is not about the sign-in makes no pause')
  }
  t.end()
})

t.test('a next hop without XOAUTH2 is sent no token, and without a token nothing is tried', async (t) => {
  const without = await open(t, giving('token-1'), (token) => token === 'token-1', 'PLAIN LOGIN')
  t.match(await without.deliver(), { outcome: 'deferred', text: /does not offer AUTH XOAUTH2/ })
  t.same(without.asked, [])
  const edge = await startCloudEdge(() => ({ status: 401, body: { error: 'invalid_client' } }))
  t.teardown(() => edge.close())
  const credentials = { authority: edge.origin, tenant: 'x', clientId: 'x', clientSecret: 'very secret', scope: 'x' }
  const { deliver, asked } = await open(t, createClientCredentialsTokens(credentials), () => false)
  t.match(await deliver(), { outcome: 'deferred', enhanced: '4.7.0', text: /HTTP 401: invalid_client/ })
  t.same(asked, [])
})
