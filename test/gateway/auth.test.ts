import { once } from 'node:events'
import { SMTPServer } from 'smtp-server'
import t from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { createAccounts, hashPassword } from '../../gateway/accounts.ts'
import { createProviderAccounts } from '../../gateway/provider-accounts.ts'
import type { TlsPolicy } from '../../gateway/tls-policy.ts'
import { makeCertificate } from './certificate.ts'
import { openDialogue } from './dialogue.ts'
import { open, org, other } from './open-listener.ts'
import { startScriptedHop } from './scripted-hop.ts'

const now = new Date()
const pair = await issuePair(await createAuthority(now), { kind: 'server', names: ['localhost'] }, now)
const tls = { mode: 'starttls', certificate: pair.cert, key: pair.key } as const
const certificate = await makeCertificate('smtp.provider.example')
const verify: TlsPolicy = { mode: 'verify', name: 'smtp.provider.example', ca: [certificate.ca] }
const domainsOf = (id: string) => (id === org ? ['acme.example'] : ['other.example'])
const password = 'the password that only the provider knows'

/** A provider that knows anna@acme.example and counts what it is asked. */
async function openProvider(t: Parameters<typeof open>[0]) {
  const asked: string[] = []
  const server = new SMTPServer({
    ...{ key: certificate.key, cert: certificate.cert, disableReverseLookup: true, logger: false, closeTimeout: 100 },
    onAuth(auth, _session, callback) {
      asked.push(auth.username ?? '')
      const right = auth.username === 'anna@acme.example' && auth.password === password
      callback(null, right ? { user: auth.username } : {})
    },
  })
  server.on('error', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  t.teardown(() => new Promise<void>((resolve) => server.close(resolve)))
  const address = server.server.address()
  return { asked, port: address !== null && typeof address === 'object' ? address.port : 0 }
}

function accountsAt(port: number, policy: TlsPolicy = verify, timeoutMs = 10_000) {
  const hop = { host: '127.0.0.1', port, tls: policy, implicitTls: false, helo: 'gw.acme.example', auth: null }
  return createProviderAccounts({
    hops: new Map([
      [org, hop],
      [other, hop],
    ]),
    domainsOf,
    timeoutMs,
  })
}

async function openSecure(port: number) {
  const client = await openDialogue(port)
  await client.reply()
  await client.say('EHLO client.example')
  await client.say('STARTTLS')
  await client.startTls()
  await client.say('EHLO client.example')
  return client
}
const plain = (user: string, secret: string) => `AUTH PLAIN ${Buffer.from(`\0${user}\0${secret}`).toString('base64')}`

t.test('whom the provider knows signs in, and sends for the organization of the domain', async (t) => {
  const provider = await openProvider(t)
  const { port, log } = await open(t, { tls }, { rules: [], accounts: accountsAt(provider.port) })
  const client = await openSecure(port)
  t.match(await client.say(plain('anna@acme.example', password)), /^235 /)
  t.match(await client.say('MAIL FROM:<boss@other.example>'), /^550 5\.7\.1 /)
  t.match(await client.say('MAIL FROM:<anna@acme.example>'), /^250 /)
  client.destroy()
  const login = await openSecure(port)
  await login.say('AUTH LOGIN')
  await login.say(Buffer.from('anna@acme.example').toString('base64'))
  t.match(await login.say(Buffer.from(password).toString('base64')), /^235 /)
  login.destroy()
  t.notMatch(log(), password)
  t.notMatch(log(), 'anna')
})

t.test('a wrong password is refused, asked about once on a connection and again on the next', async (t) => {
  const provider = await openProvider(t)
  const { port, log } = await open(t, { tls }, { rules: [], accounts: accountsAt(provider.port) })
  const client = await openSecure(port)
  t.match(await client.say(plain('anna@acme.example', 'a wrong guess')), /^535 5\.7\.8 /)
  t.match(await client.say(plain('anna@acme.example', 'a wrong guess')), /^535 5\.7\.8 /)
  t.same(provider.asked, ['anna@acme.example'])
  t.match(await client.say(plain('anna@acme.example', 'another')), /^421 4\.7\.0 /)
  const next = await openSecure(port)
  t.match(await next.say(plain('anna@acme.example', 'a wrong guess')), /^535 5\.7\.8 /)
  t.equal(provider.asked.length, 3)
  next.destroy()
  t.notMatch(log(), 'wrong guess')
})

t.test('users of no organization here are refused, and their password goes nowhere', async (t) => {
  const provider = await openProvider(t)
  const { port } = await open(t, { tls }, { rules: [], accounts: accountsAt(provider.port) })
  for (const user of ['eve@elsewhere.example', 'anna']) {
    const client = await openSecure(port)
    t.match(await client.say(plain(user, password)), /^535 /, user)
    client.destroy()
  }
  t.same(provider.asked, [])
})

t.test('no password goes to a next hop that is not verified', async (t) => {
  const stranger = await makeCertificate('smtp.provider.example')
  const provider = await openProvider(t)
  const policies: TlsPolicy[] = [
    { mode: 'verify', name: 'smtp.provider.example', ca: [stranger.ca] },
    { mode: 'verify', name: 'another.example', ca: [certificate.ca] },
    { mode: 'pin', spki: [stranger.pin] },
    { mode: 'opportunistic' },
    { mode: 'none' },
  ]
  for (const policy of policies) {
    const { port } = await open(t, { tls }, { rules: [], accounts: accountsAt(provider.port, policy) })
    const client = await openSecure(port)
    t.match(await client.say(plain('anna@acme.example', password)), /^454 4\.7\.0 /, policy.mode)
    t.match(await client.say('NOOP'), /^250/)
    client.destroy()
  }
  const clear = await startScriptedHop({ ehlo: ['AUTH PLAIN LOGIN'] })
  t.teardown(() => clear.close())
  await t.rejects(accountsAt(clear.port).verify('anna@acme.example', password), { code: 'sign-in-later' })
  t.same(provider.asked, [])
  t.notOk(clear.commands.some((command) => command.startsWith('AUTH')))
})

t.test('a provider that cannot be asked is no wrong password', async (t) => {
  const gone = await startScriptedHop()
  await gone.close()
  const { port, log } = await open(t, { tls }, { rules: [], accounts: accountsAt(gone.port) })
  const client = await openSecure(port)
  for (let n = 0; n < 4; n++) {
    t.match(await client.say(plain('anna@acme.example', password)), /^454 4\.7\.0 /, 'however often')
  }
  client.destroy()
  t.notMatch(log(), password)
  const busy = await startScriptedHop({
    tls: certificate,
    ehlo: ['STARTTLS', 'AUTH PLAIN'],
    answer: (command) => (command.startsWith('AUTH') ? '454 4.7.0 not now\r\n' : undefined),
  })
  t.teardown(() => busy.close())
  await t.rejects(accountsAt(busy.port).verify('anna@acme.example', password), { code: 'sign-in-later' })
})

t.test('only a few are asked about at the same time, and of many more none waits for ever', async (t) => {
  let open = 0
  let most = 0
  const slow = await startScriptedHop({
    tls: certificate,
    ehlo: ['STARTTLS', 'AUTH PLAIN'],
    answer: (command, _connection, socket) => {
      if (!command.startsWith('AUTH')) return undefined
      most = Math.max(most, ++open)
      setTimeout(() => {
        open -= 1
        socket.write('235 2.7.0 welcome\r\n')
      }, 50)
      return ''
    },
  })
  t.teardown(() => slow.close())
  const accounts = accountsAt(slow.port)
  const answers = await Promise.allSettled(
    Array.from({ length: 60 }, (_, n) => accounts.verify(`user${n}@acme.example`, password)),
  )
  t.equal(answers.filter(({ status }) => status === 'fulfilled').length, 36, 'four are asked about, 32 wait')
  t.ok(most <= 4, `${most} at once`)
})

t.test('users of the file are checked by the file, and all others by the provider', async (t) => {
  const provider = await openProvider(t)
  const list = [{ user: 'printer', org, hash: await hashPassword('printers have long passwords') }]
  const accounts = createAccounts(list, accountsAt(provider.port))
  t.match(await accounts.verify('printer', 'printers have long passwords'), { user: 'printer', org })
  t.equal(await accounts.verify('printer', password), null)
  t.same(provider.asked, [])
  t.match(await accounts.verify('anna@acme.example', password), { user: 'anna@acme.example', org })
})
