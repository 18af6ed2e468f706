import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import type { ProofRule } from '../../gateway/proof.ts'
import { makeAuthority, makeClient } from './client-certificates.ts'
import { openDialogue } from './dialogue.ts'
import { open, org, other, ranges } from './open-listener.ts'

const mail = 'From: anna@acme.example\r\nSubject: hello\r\n\r\nfirst line\r\n'
const now = new Date()
const pair = await issuePair(await createAuthority(now), { kind: 'server', names: ['localhost'] }, now)
const ours = await makeAuthority('authority one')
const theirs = await makeAuthority('authority two')
const dns = (value: string) => ({ type: 'dns' as const, value })

type CertificateRule = Extract<ProofRule, { kind: 'certificate' }>
const rule = (change: Partial<CertificateRule> = {}): CertificateRule => ({
  ...{ kind: 'certificate', org, names: ['mta.acme.example'], ranges: null, secret: null },
  authorities: [new X509Certificate(ours.pem)],
  ...change,
})
const otherRule = rule({ org: other, names: ['mta.other.example'], authorities: [new X509Certificate(theirs.pem)] })

async function openWith(
  t: Parameters<typeof open>[0],
  rules: CertificateRule[],
  mode: 'starttls' | 'implicit' = 'starttls',
) {
  const tls = { mode, certificate: pair.cert, key: pair.key } as const
  return open(t, { tls }, { rules })
}

async function mailFrom(port: number, from: string, own?: { cert: string; key: string }, implicit = false) {
  const client = await openDialogue(port)
  if (!implicit) {
    await client.reply()
    await client.say('EHLO client.example')
    await client.say('STARTTLS')
  }
  await client.startTls(own)
  if (implicit) await client.reply()
  await client.say('EHLO client.example')
  return { client, reply: await client.say(`MAIL FROM:<${from}>`) }
}

for (const mode of ['starttls', 'implicit'] as const) {
  t.test(`a certificate of the right authority and name proves the organization (${mode})`, async (t) => {
    const { port, taken } = await openWith(t, [rule(), otherRule], mode)
    const own = await makeClient(ours, 'anything', [dns('MTA.acme.example'), dns('b.example')])
    const { client, reply } = await mailFrom(port, 'anna@acme.example', own, mode === 'implicit')
    t.match(reply, /^250/)
    await client.say('RCPT TO:<b@example.org>')
    await client.say('DATA')
    client.write(`${mail}.\r\n`)
    t.match(await client.reply(), /^250/)
    t.equal(taken[0]?.intake.org, org)
    t.match(await client.say('MAIL FROM:<boss@other.example>'), /^550 5\.7\.1 /, 'and no other organization')
    client.destroy()
  })
}

t.test('nothing is proven without one, and the client is served as far as it may', async (t) => {
  const { port } = await openWith(t, [rule()])
  const { client, reply } = await mailFrom(port, 'anna@acme.example')
  t.match(reply, /^550 5\.7\.1 /)
  client.destroy()
  const clear = await openDialogue(port)
  await clear.reply()
  await clear.say('EHLO client.example')
  t.match(await clear.say('MAIL FROM:<anna@acme.example>'), /^550 5\.7\.1 /)
  clear.destroy()
})

t.test('a certificate that does not fit proves nothing', async (t) => {
  const { port } = await openWith(t, [rule(), otherRule])
  const stranger = await makeAuthority('authority one')
  const below = await makeClient(ours, 'mta.acme.example', [dns('leaf.example')])
  const cases = [
    ['another name', await makeClient(ours, 'x', [dns('mail.acme.example')])],
    ['the name only as the common name beside DNS names', below],
    ['the name within an URI', await makeClient(ours, 'x', [{ type: 'url', value: 'a:b, DNS:mta.acme.example' }])],
    ['the authority of another organization', await makeClient(theirs, 'x', [dns('mta.acme.example')])],
    ['an authority of the same name that nobody trusts', await makeClient(stranger, 'x', [dns('mta.acme.example')])],
    ['past its day', await makeClient(ours, 'x', [dns('mta.acme.example')], -1)],
    ['made for servers', await makeClient(ours, 'x', [dns('mta.acme.example')], 1, 'serverAuth')],
  ] as const
  for (const [what, own] of cases) {
    const { client, reply } = await mailFrom(port, 'anna@acme.example', own)
    // OpenSSL may end the connection of whoever shows a forged signature.
    t.match(reply, what.includes('nobody trusts') ? /^(?:550 5\.7\.1 |$)/ : /^550 5\.7\.1 /, what)
    client.destroy()
  }
})

t.test('another authority in between may come along with the certificate', async (t) => {
  const { port } = await openWith(t, [rule()])
  const between = await makeAuthority('authority in between', ours)
  const own = await makeClient(between, 'mta.acme.example', [])
  const whole = await mailFrom(port, 'anna@acme.example', { cert: own.cert + between.pem, key: own.key })
  t.match(whole.reply, /^250/, 'and without DNS names the common name counts')
  const part = await mailFrom(port, 'anna@acme.example', own)
  t.match(part.reply, /^550 5\.7\.1 /, 'without it nobody knows where it comes from')
  whole.client.destroy()
  part.client.destroy()
})

t.test('a shared certificate needs the tenant secret beside it, and ranges count where they are named', async (t) => {
  const own = await makeClient(ours, 'x', [dns('mta.acme.example')])
  const shared = await openWith(t, [rule({ secret: 'a tenant secret of acme' })])
  for (const [field, expected] of [
    ['', /^550 5\.7\.1 /],
    ['Sealpost-Tenant: a tenant secret of acme\r\n', /^250 /],
  ] as const) {
    const { client, reply } = await mailFrom(shared.port, 'anna@acme.example', own)
    t.match(reply, /^250/)
    await client.say('RCPT TO:<b@example.org>')
    await client.say('DATA')
    client.write(`${field}${mail}.\r\n`)
    t.match(await client.reply(), expected)
    client.destroy()
  }
  const elsewhere = await openWith(t, [rule({ ranges: ranges('192.0.2.0/24') })])
  const { client, reply } = await mailFrom(elsewhere.port, 'anna@acme.example', own)
  t.match(reply, /^550 5\.7\.1 /)
  client.destroy()
})
