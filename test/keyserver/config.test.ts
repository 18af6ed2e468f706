import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { loadConfig } from '../../keyserver/config-file.ts'
import { ConfigError } from '../../protocol/config-document.ts'
import { acme, writeSecret } from './premises.ts'

const SAMPLE = readFileSync(fileURLToPath(new URL('../../keyserver/keyserver.sample.yaml', import.meta.url)), 'utf8')

/** The sample where its paths lead somewhere. */
async function settle(t: Test, changes: (text: string) => string = (text) => text) {
  const folder = t.testdir()
  mkdirSync(join(folder, 'certs'))
  mkdirSync(join(folder, 'keyserver'))
  const now = new Date()
  const authority = await createAuthority(now)
  const pair = await issuePair(authority, { kind: 'server', names: ['localhost'] }, now)
  writeFileSync(join(folder, 'certs/ca.pem'), authority.cert)
  writeFileSync(join(folder, 'certs/keyserver.pem'), pair.cert)
  writeSecret(join(folder, 'certs/keyserver.key'), pair.key)
  const file = join(folder, 'keyserver/keyserver.yaml')
  const text = changes(SAMPLE)
  if (text === SAMPLE && changes(' ') !== ' ') throw new Error('the change found nothing to change')
  writeFileSync(file, text)
  return { folder, file, authority }
}

function faultsOf(file: string, now?: Date): readonly string[] {
  try {
    loadConfig(file, now)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults.map((fault) => fault.replace(`${file}: `, ''))
    throw error
  }
}

t.test('the commented sample is a configuration, and says the defaults', async (t) => {
  const { folder, file } = await settle(t)
  const config = loadConfig(file)
  t.equal(config.database, join(folder, 'data/keyserver.sqlite'), 'paths are relative to the file')
  t.equal(config.organizations[acme]?.from, 'no-reply@acme.example')
  const start = SAMPLE.indexOf('\nlimits:')
  const end = SAMPLE.indexOf('# Days that a day')
  writeFileSync(file, SAMPLE.slice(0, start) + SAMPLE.slice(end))
  t.strictSame(loadConfig(file).limits, config.limits, 'what the sample calls a default is one')
})

t.test('every option of the sample has words of its own', async (t) => {
  const lines = SAMPLE.split('\n')
  const bare = lines.filter((line, i) => {
    const option = /^ *(# )?[a-zA-Z]+:( |$)/.test(line) && !line.startsWith('# ')
    return (
      option && i > 0 && !(lines[i - 1] ?? '').trim().startsWith('#') && !/^\s+(cert|key|port|tls|host):/.test(line)
    )
  })
  t.strictSame(
    bare.map((line) => line.trim()),
    ['file: ../data/organization.key'],
  )
})

const cases: readonly (readonly [string, (text: string) => string, RegExp])[] = [
  ['an unknown option', (s) => `${s}\nfoo: 1\n`, /^the file: foo is not known here/],
  ['one twice', (s) => `${s}\ngraceDays: 2\n`, /unique/],
  ['no YAML at all', () => 'a: [', /./],
  [
    'an alias',
    (s) => s.replace('host: 127.0.0.1', 'host: &h 127.0.0.1').replace('host: smtp.acme.example', 'host: *h'),
    /alias/i,
  ],
  [
    'a gateway of an unknown organization',
    (s) => s.replace('organizations: [acme.example]', 'organizations: [other.example]'),
    /^gateways > gw1 > organizations: other\.example is not among/,
  ],
  [
    'health for everybody',
    (s) => s.replace(/ops:\n {2}host: 127\.0\.0\.1/, 'ops:\n  host: 0.0.0.0'),
    /^ops > host: expected a loopback address/,
  ],
  [
    'a public listener without TLS',
    (s) => s.replace('  host: 127.0.0.1\n  # TCP', '  host: 0.0.0.0\n  # TCP'),
    /^public > tls: give cert and key/,
  ],
  [
    'links by plain http',
    (s) => s.replaceAll('https://open.acme.example', 'http://open.acme.example'),
    /must begin with https/,
  ],
  [
    'a link with a path',
    (s) => s.replace('url: https://open.acme.example', 'url: https://open.acme.example/x'),
    /expected an origin/,
  ],
  [
    'a user without a password',
    (s) => s.replace('# user: codes', 'user: codes'),
    /^mail: user and password go together/,
  ],
]
for (const [name, change, expected] of cases) {
  t.test(`refused: ${name}`, async (t) => {
    const { file } = await settle(t, change)
    const faults = faultsOf(file)
    t.match(faults[0] ?? '', expected)
  })
}

t.test('certificates that are expired, of another key, or not there are refused by name', async (t) => {
  const { folder, file, authority } = await settle(t)
  t.match(faultsOf(file, new Date(Date.now() + 800 * 86_400_000)).join(), /keyserver\.pem: this certificate expired/)
  const elsewhere = await issuePair(authority, { kind: 'server', names: ['localhost'] }, new Date())
  writeSecret(join(folder, 'certs/keyserver.key'), elsewhere.key)
  t.match(faultsOf(file).join(), /keyserver\.key: this key does not belong to the certificate/)
  writeFileSync(join(folder, 'certs/ca.pem'), 'no certificate')
  t.equal(faultsOf(file).length, 2, 'all at once')
  t.match(faultsOf('/nowhere/at/all.yaml'), [/there is no such file/])
})
