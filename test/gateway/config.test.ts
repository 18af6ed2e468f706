import { execFile } from 'node:child_process'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { certs } from '../../cli/certs.ts'
import { hashPassword } from '../../gateway/accounts.ts'
import { loadConfig } from '../../gateway/config.ts'
import { ConfigError } from '../../protocol/config-document.ts'

const quiet = { out: () => undefined, err: () => undefined }
const folder = t.testdir({ 'loop.secret': 'a'.repeat(24), 'tenant.secret': 'b'.repeat(24), 'short.secret': 'c' })
for (const name of ['loop', 'tenant', 'short']) chmodSync(join(folder, `${name}.secret`), 0o600)
await certs(['init', '--to', join(folder, 'certs'), '--gateway', 'gw1', '--officer', 'officer1'], quiet)

const good = {
  name: 'gw1.acme.example',
  data: 'data',
  organizations: { 'acme.example': { name: 'Acme', nextHop: { host: 'smtp.example.net', port: 25 } } },
  listeners: [{ host: '127.0.0.1', port: 0, clients: [{ org: 'acme.example', from: 'anyone' }] }],
  keyServer: {
    url: 'https://localhost:8444',
    cert: 'certs/gateway-gw1.pem',
    key: 'certs/gateway-gw1.key',
    ca: 'certs/ca.pem',
  },
  copies: { host: '127.0.0.1', port: 0, origins: ['https://open.acme.example'] },
  ops: { host: '127.0.0.1', port: 0 },
}

function load(config: unknown) {
  const file = join(folder, 'gateway.yaml')
  writeFileSync(file, typeof config === 'string' ? config : stringify(config))
  return loadConfig(file)
}

function faults(config: unknown): string {
  try {
    load(config)
    return ''
  } catch (error) {
    if (error instanceof ConfigError) return error.faults.join('\n')
    throw error
  }
}

t.test('a short configuration gets the defaults', (t) => {
  const config = load(good)
  t.equal(config.limits.size, 52_428_800)
  t.equal(config.data, join(folder, 'data'))
  t.equal(config.listeners[0]?.options.name, 'smtp-1')
  t.equal(config.listeners[0]?.options.bareNewlines, 'refuse')
  t.equal(config.listeners[0]?.accounts, null)
  t.notOk('tls' in (config.organizations[0]?.nextHop ?? {}), 'the courier knows its own default')
  t.equal(config.copies.folder, join(folder, 'data', 'copies'))
  t.end()
})

t.test('a loop secret that is changed stands beside the one before it', (t) => {
  const file = () => ({ file: 'loop.secret' })
  const given = (loopSecret: unknown) => ({
    ...good,
    organizations: { 'acme.example': { ...good.organizations['acme.example'], loopSecret } },
  })
  const secret = load(given(file())).organizations[0]?.loopSecret
  t.match(secret, /^[\w-]{16,}$/)
  t.match(load(given(file())).organizations[0], { loopSecret: secret, otherLoopSecret: null })
  t.match(load(given([file(), file()])).organizations[0], { loopSecret: secret, otherLoopSecret: secret })
  t.match(faults(given([file(), { file: 'short.secret' }])), /loopSecret: expected 16 to 128/)
  t.match(faults(given([file(), file(), file()])), /loopSecret/)
  t.end()
})

t.test('while a tenant secret is changed, either is asked for', (t) => {
  const file = { file: 'tenant.secret' }
  const clients = [{ org: 'acme.example', from: ['192.0.2.0/24'], tenantSecret: true }]
  const given = (tenantSecret: unknown) => ({
    ...good,
    organizations: { 'acme.example': { ...good.organizations['acme.example'], tenantSecret } },
    listeners: [{ host: '127.0.0.1', port: 0, clients }],
  })
  const secrets = (config: unknown) =>
    load(config).listeners[0]?.rules.map((rule) => (rule.kind === 'tenant' ? rule.secret : rule.kind))
  t.same(secrets(given(file)), ['b'.repeat(24)])
  t.same(secrets(given([{ file: 'loop.secret' }, { ...file }])), ['a'.repeat(24), 'b'.repeat(24)])
  t.match(faults(given([{ file: 'short.secret' }, { ...file }])), /tenantSecret: expected 16 characters or more/)
  t.end()
})

t.test('a scanner is for all organizations, or for one', (t) => {
  const given = (scanner: unknown, own?: unknown) => ({
    ...good,
    ...(scanner === undefined ? {} : { scanner }),
    organizations: {
      'acme.example': { ...good.organizations['acme.example'], ...(own === undefined ? {} : { scanner: own }) },
      // A copy: YAML would write the same object as an alias.
      'other.example': structuredClone(good.organizations['acme.example']),
    },
  })
  const scanners = (config: unknown) => load(config).organizations.map(({ scanner }) => scanner)
  t.strictSame(scanners(good), [null])
  const clamd = {
    place: { kind: 'socket', path: join(folder, 'clamd.ctl') },
    ...{ icap: null, timeoutMs: 20_000, maxSize: 26_214_400, connections: 8 },
  }
  t.strictSame(scanners(given({ kind: 'clamd', socket: 'clamd.ctl' })), [clamd, clamd])
  t.strictSame(scanners(given({ kind: 'clamd', socket: 'clamd.ctl' }, 'none')), [null, clamd])
  const icap = {
    kind: 'icap',
    host: 'scan.example.net',
    service: 'avscan',
    tls: { mode: 'verify', ca: 'certs/ca.pem' },
  }
  t.match(scanners(given(undefined, icap)), [
    {
      place: { kind: 'host', host: 'scan.example.net', port: 1344, tls: { mode: 'verify' } },
      ...{ icap: { host: 'scan.example.net', port: 1344, service: 'avscan' }, maxSize: 5_242_880 },
    },
    null,
  ])
  const wrong: readonly [unknown, RegExp][] = [
    [{ kind: 'icap' }, /^[^\n]*scanner: service is missing[^\n]*$/],
    [{ kind: 'clamd', service: 'x' }, /service: is for kind icap/],
    [{ kind: 'icap', socket: 'x', service: 'x' }, /socket: is for kind clamd/],
    [{ kind: 'clamd', socket: 'x', port: 1 }, /either socket, or host and port/],
    [
      { kind: 'clamd', host: 'scan.example.net' },
      /the clear text of all mail would go to scan\.example\.net; clamd has no TLS/,
    ],
    [{ kind: 'clamd', tls: { mode: 'verify' } }, /clamd has no TLS; expected none/],
    [{ kind: 'icap', host: '192.0.2.1', service: 'x' }, /write tls: \{mode: verify\}, or tls: \{mode: none\}/],
    [{ kind: 'icap', service: 'a b' }, /service: expected the path of an ICAP service/],
    [{ kind: 'sophos' }, /kind: expected one of clamd, icap/],
    [{ kind: 'clamd', maxSize: 0 }, /maxSize: expected a whole number/],
  ]
  for (const [scanner, said] of wrong) t.match(faults(given(scanner)), said)
  t.equal(faults(given({ kind: 'clamd', host: '192.0.2.1', tls: { mode: 'none' } })), '')
  const sample = readFileSync(new URL('../../gateway/gateway.sample.yaml', import.meta.url), 'utf8')
  const block = /^# scanner:\n(?:#.*\n)+/m.exec(sample)?.[0].replace(/^# /gm, '') ?? ''
  const commented = parse(block) as { readonly scanner: unknown }
  t.match(
    scanners(given(commented.scanner)),
    [{ maxSize: 26_214_400, timeoutMs: 20_000, connections: 8 }],
    'the sample',
  )
  t.end()
})

t.test('the sample is a configuration', (t) => {
  const sample = readFileSync(new URL('../../gateway/gateway.sample.yaml', import.meta.url), 'utf8')
  t.equal(faults(sample.replaceAll('../certs/', 'certs/')), '')
  const everything = sample
    .replaceAll('../certs/', 'certs/')
    .replace(/^( *)# (tls: \{ ?mode: starttls|tenantSecret: |loopSecret: |- \{org)/gm, '$1$2')
  t.equal(
    faults(everything.replaceAll(/\.\.\/data\/acme-(loop|tenant)\.secret/g, '$1.secret')),
    '',
    'with what is commented out, too',
  )
  t.end()
})

t.test('all faults are told at once, each with its place and what is expected', (t) => {
  const said = faults({
    ...good,
    name: 'not a name',
    surprise: 1,
    organizations: { 'acme.example': { nextHop: { host: 'x', port: 99_999, tls: { mode: 'maybe' } } } },
    limits: { size: 'large' },
  })
  t.match(said, 'surprise is not known here')
  t.match(said, 'name: expected a host name such as gw1.acme.example')
  t.match(said, 'organizations > acme.example: name is missing')
  t.match(said, 'organizations > acme.example > nextHop > port: expected a port number, 0 to 65535')
  t.match(said, 'nextHop > tls > mode: expected one of verify, pin, opportunistic, none')
  t.match(said, 'limits > size: expected a whole number')
  t.end()
})

t.test('what a shape cannot say is checked, too', (t) => {
  const cases: readonly [unknown, RegExp][] = [
    [{ ...good, ops: { host: '0.0.0.0', port: 1 } }, /ops > host: expected a loopback address/],
    [{ ...good, listeners: [{ ...good.listeners[0], host: '0.0.0.0' }] }, /from anyone is for loopback listeners/],
    [
      { ...good, listeners: [{ host: '0.0.0.0', port: 1, clients: [{ org: 'acme.example', from: ['0.0.0.0/0'] }] }] },
      /open relay/,
    ],
    [
      { ...good, listeners: [{ host: '0.0.0.0', port: 1, clients: [{ org: 'acme.example', from: ['10.0.0.0/33'] }] }] },
      /prefix length/,
    ],
    [
      { ...good, listeners: [{ host: '0.0.0.0', port: 1, clients: [{ org: 'acme.example', from: ['acme'] }] }] },
      /neither an address nor a range/,
    ],
    [
      { ...good, listeners: [{ host: '0.0.0.0', port: 1, clients: [{ org: 'other.example', from: ['10.0.0.1'] }] }] },
      /not among the organizations/,
    ],
    [
      {
        ...good,
        listeners: [
          { host: '0.0.0.0', port: 1, clients: [{ org: 'acme.example', from: ['10.0.0.1'], tenantSecret: true }] },
        ],
      },
      /needs a tenantSecret/,
    ],
    [
      { ...good, listeners: [{ host: '0.0.0.0', port: 1, signInWithoutTls: true }] },
      /passwords go without TLS on a loopback address only/,
    ],
    [
      { ...good, listeners: [{ host: '0.0.0.0', port: 1, accounts: 'loop.secret' }] },
      /give tls, without which nobody can sign in/,
    ],
    [
      {
        ...good,
        organizations: {
          'acme.example': { ...good.organizations['acme.example'], loopSecret: { file: 'short.secret' } },
        },
      },
      /loopSecret: expected 16 to 128/,
    ],
    [
      {
        ...good,
        organizations: { 'acme.example': { ...good.organizations['acme.example'], traceKey: { file: 'absent' } } },
      },
      /traceKey: .*absent: the secret is missing/,
    ],
    ['name: [', /gateway\.yaml: /],
    ['a: 1\na: 2', /unique/],
    ['a: &x 1\nb: *x', /aliases/],
    ['', /holds no options.*gateway\.sample\.yaml is one to start from/],
    ['only words', /holds no options/],
    ['- a', /holds no options/],
    ['a:\n\tb: 1', /Tabs are not allowed as indentation at line 2, column 1$/m],
    ['a: 1\n---\nb: 2', /a second document begins at line 2; leave its line --- out/],
  ]
  for (const [config, fault] of cases) t.match(faults(config), fault)
  t.throws(() => loadConfig(join(folder, 'nowhere.yaml')), {
    message: /there is no such file; name a configuration file/,
  })
  t.end()
})

t.test('a key that others can read, or that belongs elsewhere, is refused by name', (t) => {
  const key = join(folder, 'certs', 'gateway-gw1.key')
  chmodSync(key, 0o644)
  t.match(faults(good), /gateway-gw1\.key: .*chmod 600/)
  chmodSync(key, 0o600)
  t.match(
    faults({ ...good, keyServer: { ...good.keyServer, key: 'certs/gateway.key' } }),
    /gateway\.key: this key does not belong/,
  )
  const later = new Date(Date.now() + 3 * 366 * 86_400_000)
  t.throws(() => loadConfig(join(folder, 'gateway.yaml'), later), { message: /gateway-gw1\.pem/ })
  t.end()
})

t.test('accounts are read from their file, and a faulty item is named', async (t) => {
  const listener = { host: '127.0.0.1', port: 0, signInWithoutTls: true, accounts: 'accounts.yaml' }
  const write = (items: unknown) => writeFileSync(join(folder, 'accounts.yaml'), stringify(items), { mode: 0o600 })
  const anna = { user: 'anna', org: 'acme.example', hash: await hashPassword('a long password') }
  write([anna])
  t.strictSame(load({ ...good, listeners: [listener] }).listeners[0]?.accounts, { list: [anna], provider: false })
  write([anna, { ...anna, org: 'other.example' }, { ...anna, hash: 'plain' }, null])
  const said = faults({ ...good, listeners: [listener] })
  for (const item of ['item 2', 'item 3', 'item 4']) t.match(said, item)
  t.notMatch(said, 'item 1 ')
  write({ anna })
  t.match(faults({ ...good, listeners: [listener] }), /not a YAML list/)
})

t.test('the provider is asked for passwords only where its certificate is looked at', (t) => {
  const listener = { host: '127.0.0.1', port: 0, signInWithoutTls: true, accounts: { provider: true } }
  t.match(load({ ...good, listeners: [listener] }).listeners[0]?.accounts, { list: [], provider: true })
  const organizations = { 'acme.example': { name: 'Acme', nextHop: { host: '127.0.0.1', port: 25 } } }
  t.match(faults({ ...good, organizations, listeners: [listener] }), /nextHop > tls needs mode verify or pin/)
  t.match(faults({ ...good, listeners: [{ ...listener, accounts: {} }] }), /expected file, or provider: true/)
  t.end()
})

t.test('a client certificate needs TLS, its authority and names; balancers need ranges of clients', (t) => {
  const certificate = { ca: 'certs/ca.pem', names: ['mta.acme.example'] }
  const clients = [{ org: 'acme.example', certificate }]
  const listener = { host: '127.0.0.1', port: 0, clients }
  const tls = { mode: 'starttls', cert: 'certs/keyserver.pem', key: 'certs/keyserver.key' }
  t.match(load({ ...good, listeners: [{ ...listener, tls }] }).listeners[0]?.rules[0], { kind: 'certificate' })
  t.match(faults({ ...good, listeners: [listener] }), /certificate: give tls/)
  const wrong = [{ org: 'acme.example', certificate: { ...certificate, ca: 'loop.secret' } }, { org: 'acme.example' }]
  const said = faults({ ...good, listeners: [{ ...listener, tls, clients: wrong }] })
  t.match(said, /loop\.secret holds no PEM certificate/)
  t.match(said, /needs from or certificate/)
  const open = {
    host: '127.0.0.1',
    port: 0,
    clients: [{ org: 'acme.example', from: 'anyone' }],
    proxies: ['192.0.2.1'],
  }
  t.match(faults({ ...good, listeners: [open] }), /from anyone would let in whoever reaches them/)
  t.end()
})

t.test('the process ends with 78 and says every fault, and no more', async (t) => {
  const file = join(folder, 'bad.yaml')
  writeFileSync(file, stringify({ ...good, name: '?', ops: {} }))
  const main = fileURLToPath(new URL('../../gateway/main.ts', import.meta.url))
  const ended = await new Promise<{ code: unknown; said: string }>((resolve) => {
    execFile(process.execPath, [main, file], (error, _out, said) => resolve({ code: error?.code, said }))
  })
  t.equal(ended.code, 78)
  t.equal(ended.said.trim().split('\n').length, 3)
  t.notMatch(ended.said, /^ +at /m, 'no stack')
})

t.test('an address that is not of this machine is named in plain words', async (t) => {
  const file = join(folder, 'elsewhere.yaml')
  const [listener] = good.listeners
  const listeners = [
    { ...listener, host: '192.0.2.1', port: 0, clients: [{ org: 'acme.example', from: ['192.0.2.2'] }] },
  ]
  writeFileSync(file, stringify({ ...good, listeners }))
  const main = fileURLToPath(new URL('../../gateway/main.ts', import.meta.url))
  const ended = await new Promise<{ code: unknown; said: string }>((resolve) => {
    execFile(process.execPath, [main, file], (error, _out, said) => resolve({ code: error?.code, said }))
  })
  t.strictSame(ended, { code: 1, said: 'gateway: 192.0.2.1 is no address of this machine; configure one that is\n' })
})

t.test('what comes to light in the middle of a start ends the process as well', async (t) => {
  const main = new URL('../../gateway/main.ts', import.meta.url).pathname
  const file = join(folder, 'begun.yaml')
  const data = t.testdir({ held: { ['a'.repeat(22)]: 'mail' }, 'queue.json': { folder: '' } })
  writeFileSync(file, stringify({ ...good, data }))
  const start = () =>
    new Promise<{ code: unknown; said: string }>((resolve) => {
      execFile(process.execPath, [main, file], { timeout: 10_000 }, (error, _out, said) =>
        resolve({ code: error?.code, said }),
      )
    })
  t.match(await start(), { code: 78, said: /held\.key: mail is kept under it, but its key is missing/ })
  rmSync(join(data, 'held'), { recursive: true })
  t.match(await start(), { code: 1, said: /queue\.json: is a folder/ })
})
