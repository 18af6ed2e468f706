import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createAuthority, issuePair } from '../cli/authority.ts'
import { certs } from '../cli/certs.ts'
import { commands } from '../cli/commands.ts'
import { freePorts } from '../cli/house.ts'
import { run } from '../cli/run.ts'
import { loadConfig } from '../gateway/config.ts'
import { capture } from './cli/capture.ts'
import { sendOnce } from './scenarios/dialogue.ts'
import { openScene } from './scenarios/house.ts'
import { fetchNeighbours } from './scenarios/neighbours.ts'
import { postfixAbsent, startPostfix } from './scenarios/postfix.ts'
import { envelopeIn, sealedCopyIn, startSink } from './scenarios/sink.ts'

t.setTimeout(90_000)

/* The guides for admins say what to type. Here it is typed. */
const folder = join(import.meta.dirname, '..', 'docs', 'guides')
const pages = readdirSync(folder).filter((name) => name.endsWith('.md'))
const textOf = (page: string) => readFileSync(join(folder, page), 'utf8')

/** The code blocks of a page that are of this kind. */
function blocks(page: string, kind: string): string[] {
  const all = textOf(page).matchAll(/^```(\S+)\n(.*?)\n```$/gms)
  return [...all].flatMap(([, name, text = '']) => (name === kind ? [text] : []))
}

const TENANT = 'tenant-secret-of-the-test'
const LOOP = 'loop-secret-of-the-test'

/** A folder as the guides have it, with a page's configuration in etc. */
async function placeOf(test: Test, yaml: string): Promise<string> {
  const place = mkdtempSync(join(tmpdir(), 'sealpost-guide-'))
  test.teardown(() => rmSync(place, { recursive: true }))
  for (const name of ['etc', 'data']) mkdirSync(join(place, name))
  await certs(['init', '--to', join(place, 'certs')], capture())
  writeFileSync(join(place, 'data', 'acme-tenant.secret'), TENANT, { mode: 0o600 })
  writeFileSync(join(place, 'data', 'acme-loop.secret'), LOOP, { mode: 0o600 })
  writeFileSync(join(place, 'etc', 'gateway.yaml'), yaml)
  return place
}

t.test('the configuration in each guide is one that the gateway takes', async (t) => {
  t.same(pages.toSorted(), ['exim.md', 'google-workspace.md', 'microsoft-365.md', 'postfix.md'])
  for (const page of pages) {
    const [yaml, more] = blocks(page, 'yaml')
    t.equal(more, undefined, `${page} has one configuration`)
    const config = loadConfig(join(await placeOf(t, yaml ?? ''), 'etc', 'gateway.yaml'))
    t.match(config, { name: 'gateway.acme.example', organizations: [{ id: 'acme.example' }] }, page)
    const [rule] = config.listeners[0]?.rules ?? []
    t.equal(rule?.kind, /microsoft|google/.test(page) ? 'tenant' : 'range', `${page}: what proves a client`)
  }
})

t.test('each command of ours that a guide names is there, with its options', async (t) => {
  for (const page of pages) {
    const named = [...textOf(page).matchAll(/npx sealpost ([a-z-]+)([^`\n]*)/g)]
    t.ok(named.length >= 4, page)
    for (const [line, name, rest = ''] of named) {
      const help = commands.find((one) => one.name === name)?.help ?? ''
      t.not(help, '', line)
      for (const [option] of rest.matchAll(/--[a-z-]+/g)) t.match(help, option, line)
    }
  }
})

t.test('sealpost guide fills in what the configuration says', async (t) => {
  const [yaml = ''] = blocks('microsoft-365.md', 'yaml')
  const own = yaml.replaceAll('gateway.acme.example', 'gw.corp.example').replaceAll('acme.example:', 'corp.example:')
  const place = await placeOf(t, own.replace('org: acme.example', 'org: corp.example'))
  const ask = async (...argv: string[]) => {
    const io = capture()
    const exit = await run(['guide', ...argv], io)
    return { exit, text: io.text(), errors: io.errors() }
  }
  const gateway = ['--gateway', join(place, 'etc', 'gateway.yaml')]
  const { exit, text } = await ask('microsoft-365', ...gateway, '--address', '203.0.113.9')
  t.equal(exit, 0)
  t.match(text, "$gateway = 'gw.corp.example'")
  t.match(text, "$address = '203.0.113.9'")
  t.match(text, `$tenantSecret = '${TENANT}'`)
  t.match(text, `$loopSecret = '${LOOP}'`)
  t.match(text, "-From 'anna@corp.example'")
  for (const command of ['New-OutboundConnector', 'New-InboundConnector', 'New-TransportRule']) t.match(text, command)
  t.notMatch(text, /acme|Remove-TransportRule|-From \$null/, 'and neither rolls back nor lets everybody in')
  t.match((await ask('google-workspace', ...gateway)).text, `Sealpost-Tenant:         ${TENANT}`)
  t.match((await ask('postfix', ...gateway)).text, '{ @corp.example = smtp:[gw.corp.example]:2525 }')
  t.match((await ask('exim', ...gateway)).text, 'senders = *@corp.example')
  t.match(await ask('sendmail', ...gateway), { exit: 2, errors: /microsoft-365, google-workspace, postfix, exim/ })
  t.match(await ask('exim'), { exit: 2, errors: /--gateway/ })
  t.match(await ask('exim', '--gateway', join(place, 'none.yaml')), { exit: 78, errors: /cannot be read/ })
  t.match(await ask('exim', ...gateway, '--org', 'b.example'), {
    exit: 78,
    errors: /no organization b.example, only corp/,
  })
  writeFileSync(join(place, 'other.yaml'), 'database: keyserver.sqlite')
  t.match(await ask('exim', '--gateway', join(place, 'other.yaml')), { exit: 78, errors: /organizations is missing/ })
})

t.test('the PowerShell names one rule, connector and header all through', async (t) => {
  const text = blocks('microsoft-365.md', 'powershell').join('\n')
  const made = [...text.matchAll(/New-(\w+) -Name '([^']+)'/g)].map(([, kind, name]) => `${kind} ${name}`)
  t.equal(new Set(made).size, 4)
  for (const [, kind, name] of text.matchAll(/(?:Set|Enable|Disable|Remove|Validate)-(\w+) -Identity '([^']+)'/g)) {
    t.ok(made.includes(`${kind} ${name}`), `${kind} ${name}`)
  }
  t.match(text, "-RouteMessageOutboundConnector 'To Sealpost'")
  for (const line of text.split('\n')) t.notMatch(line, /\S` *\S|` +$/, 'a continued line ends with its backtick')
  const stamp = `v=1; org=acme.example; id=AAAAAAAAAAAAAAAAAAAAAA; s=${LOOP}`
  t.match(stamp, new RegExp(`s=${LOOP}`), "the first rule's pattern is found in a stamp")
})

const neighbours = fetchNeighbours()
t.test('Exim takes its lines and routes by them', { skip: eximAbsent() }, async (t) => {
  if (typeof neighbours === 'string') return
  t.teardown(() => neighbours.stop())
  const [main = '', acl = '', routers = '', transports = ''] = ['main', 'acl', 'routers', 'transports'].map(
    (part) => blocks('exim.md', `exim-${part}`)[0],
  )
  const place = mkdtempSync('/tmp/sealpost-exim-')
  t.teardown(() => rmSync(place, { recursive: true }))
  const file = join(place, 'exim.conf')
  const lines = ['domainlist local_domains = acme.example', 'acl_smtp_rcpt = rcpt', main, 'begin acl', 'rcpt:', acl]
  const last = 'last:\n  driver = manualroute\n  route_list = * 192.0.2.99\n  transport = plain\n'
  const own = routers.replaceAll('gateway.acme.example', '192.0.2.25')
  writeFileSync(
    file,
    [...lines, 'begin routers', own, last, 'begin transports', transports, 'plain:\n  driver = smtp', ''].join('\n'),
  )
  const exim = (...argv: string[]) => neighbours.askExim('-C', file, ...argv)
  t.match(exim('-bV'), { status: 0, stdout: /Configuration file is/ })
  t.match(
    exim('-bt', '-f', 'anna@acme.example', 'you@example.org').stdout,
    /router = sealpost_out, transport = sealpost_smtp/,
  )
  t.match(exim('-bt', '-f', 'eve@example.net', 'you@example.org').stdout, /router = last/)
})

function eximAbsent(): string | false {
  return typeof neighbours === 'string' ? neighbours : false
}

t.test(
  'Postfix with its lines: own mail goes round by the gateway, all else its old way',
  { skip: postfixAbsent() },
  async (t) => {
    const ports = await freePorts(1)
    const back = ports[0] ?? 0
    const sink = await startSink()
    const authority = await createAuthority(new Date())
    const tls = await issuePair(authority, { kind: 'server', names: ['mta.acme.example', '127.0.0.1'] }, new Date())
    const ca = join(t.testdir({ 'mta-ca.pem': authority.cert }), 'mta-ca.pem')
    const scene = await openScene(t, {
      sink,
      provider: { host: '127.0.0.1', port: back, tls: { mode: 'verify', ca, name: 'mta.acme.example' } },
    })
    const { house } = scene
    const fill = (text: string) =>
      text
        .replaceAll('smtp:[gateway.acme.example]:2525', `smtp:[127.0.0.1]:${house.ports.smtp}`)
        .replaceAll('[gateway.acme.example]:2525', `[127.0.0.1]:${house.ports.smtp}`)
        .replaceAll('match=gateway.acme.example', 'match=localhost')
        .replaceAll('/etc/postfix/sealpost-ca.pem', join(house.folder, 'certs', 'ca.pem'))
        .replaceAll('192.0.2.25/32', '127.0.0.1/32')
        .replace('FILTER smtp:', `FILTER smtp:[127.0.0.1]:${sink.port}`)
        .replace(/^10026 inet n - y/m, `127.0.0.1:${back} inet n - n`)
    const lines = (blocks('postfix.md', 'main.cf')[0] ?? '')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
    t.equal(lines.length, 4)
    const extra = Object.fromEntries(lines.map((line) => fill(line).split(/ = (.*)/s, 2) as [string, string]))
    const postfix = await startPostfix({
      tls,
      services: [fill(blocks('postfix.md', 'master.cf')[0] ?? '')],
      extra: { virtual_mailbox_domains: 'acme.example', default_transport: `smtp:[127.0.0.1]:${sink.port}`, ...extra },
    })
    t.teardown(() => postfix.stop())
    const send = (from: string, to: string) =>
      sendOnce(postfix.port, {
        from,
        to: [to],
        octets: Buffer.from(`From: ${from}\r\nTo: ${to}\r\nSubject: x\r\nMessage-ID: <${to}>\r\n\r\nthe words\r\n`),
      })
    const got = async (to: string) => (await sink.wait(to, ({ recipients }) => recipients.includes(to))).octets

    t.match(await send('anna@acme.example', 'bob@example.org'), /^250 /)
    const sealed = await got('bob@example.org')
    t.ok(sealedCopyIn(sealed).length > 0, 'it leaves sealed')
    t.equal(sink.to('bob@example.org').length, 1, 'once')
    t.match(postfix.log(), /postfix\/sealed\/smtpd/, 'by the port of its own')
    t.match(postfix.log(), /relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, .*status=sent \(250 2\.0\.0 envelope/)
    const reader = await scene.prove(envelopeIn(sealed), 'bob@example.org')
    const { message } = await reader.open(envelopeIn(sealed), sealedCopyIn(sealed))
    t.match(Buffer.from(message).toString(), 'the words')

    t.match(await send('eve@example.net', 'cy@example.org'), /^250 /)
    t.match((await got('cy@example.org')).toString(), 'the words', 'what others wrote is not ours to seal')
    t.match(await send('anna@acme.example', 'carl@acme.example'), /^250 /)
    const [inside] = await postfix.waitFor(1)
    t.match(inside?.toString(), 'the words', 'mail inside stays inside')
    await scene.gateway.stop()
    t.match(await send('anna@acme.example', 'dora@example.org'), /^250 /)
    for (let i = 0; i < 100 && !/to=<dora@example\.org>.*status=deferred/.test(postfix.log()); i++)
      await new Promise((done) => setTimeout(done, 50))
    t.match(postfix.log(), /to=<dora@example\.org>.*status=deferred/, 'without the gateway it waits')
    t.equal(sink.to('dora@example.org').length, 0, 'and does not leave in the clear')
  },
)
