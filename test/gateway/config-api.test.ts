import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { createAuthority } from '../../cli/authority.ts'
import { type ApiConfig, apiOf } from '../../gateway/config-api.ts'
import type { Reading } from '../../gateway/config-reading.ts'
import type { ConfigFile } from '../../gateway/config-schema.ts'
import { makeApplicationCertificate } from './application-certificate.ts'

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const account = {
  ...{ client_email: 'gateway@project.example', private_key_id: 'k' },
  private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
}
const folder = t.testdir({
  secret: 'very secret',
  account: JSON.stringify(account),
  plain: JSON.stringify({ ...account, token_uri: 'http://tokens.example/token' }),
  open: 'x',
})
for (const name of ['secret', 'account', 'plain']) chmodSync(join(folder, name), 0o600)
chmodSync(join(folder, 'open'), 0o644)

const pairs = {
  good: await makeApplicationCertificate(),
  small: await makeApplicationCertificate(1024),
  late: await makeApplicationCertificate(2048, -0.0001),
  curve: await createAuthority(new Date()),
}
for (const [name, { cert, key }] of Object.entries(pairs)) {
  writeFileSync(join(folder, `${name}.pem`), cert)
  writeFileSync(join(folder, `${name}.key`), key, { mode: 0o600 })
}

type Api = NonNullable<ConfigFile['organizations'][string]['api']>

function read(api: Api | undefined): { api: ApiConfig | null; faults: string } {
  const faults: string[] = []
  const reading: Reading = { file: {} as ConfigFile, at: (name) => join(folder, name), faults, now: new Date() }
  return { api: apiOf(reading, api, 'api'), faults: faults.join('\n') }
}

const application: Api = { provider: 'graph', tenant: 'acme.example', clientId: 'app-1' }
const graph: Api = { ...application, clientSecret: { file: 'secret' } }
const pairOf = (name: string) => ({ cert: `${name}.pem`, key: `${name}.key` })
const gmail: Api = { provider: 'gmail', serviceAccount: { file: 'account' } }

t.test('each provider has its defaults', (t) => {
  t.same(read(undefined), { api: null, faults: '' })
  t.match(read(graph), {
    faults: '',
    api: {
      endpoint: 'https://graph.microsoft.com',
      mailboxes: null,
      credentials: {
        authority: 'https://login.microsoftonline.com',
        clientSecret: 'very secret',
        scope: 'https://graph.microsoft.com/.default',
      },
    },
  })
  t.match(read({ ...application, clientCertificate: pairOf('good') }), {
    faults: '',
    api: { credentials: { clientCertificate: { cert: /BEGIN CERTIFICATE/, key: /BEGIN PRIVATE KEY/ } } },
  })
  t.match(read(gmail), {
    faults: '',
    api: { endpoint: 'https://gmail.googleapis.com', credentials: { tokenUrl: 'https://oauth2.googleapis.com/token' } },
  })
  t.same(read({ ...gmail, mailboxes: ['Anna@ACME.example'] }).api?.mailboxes, new Set(['anna@acme.example']))
  t.end()
})

t.test('what cannot be right is told in words', (t) => {
  const cases: readonly [Api, RegExp][] = [
    [{ provider: 'graph' }, /with provider graph, tenant, clientId must be given/],
    [{ ...application }, /with provider graph, either clientSecret or clientCertificate must be given/],
    [{ ...graph, clientCertificate: pairOf('good') }, /either clientSecret or clientCertificate must be given/],
    [{ ...application, clientCertificate: pairOf('small') }, /clientCertificate: expected an RSA key of 2048 bits/],
    [{ ...application, clientCertificate: pairOf('curve') }, /clientCertificate: expected an RSA key/],
    [{ ...application, clientCertificate: pairOf('late') }, /clientCertificate: .*late\.pem: this certificate expired/],
    [
      { ...application, clientCertificate: { cert: 'good.pem', key: 'late.key' } },
      /does not belong to the certificate/,
    ],
    [{ ...gmail, clientCertificate: pairOf('good') }, /with provider gmail, clientCertificate cannot be given/],
    [{ provider: 'gmail' }, /with provider gmail, serviceAccount must be given/],
    [{ ...gmail, tenant: 'x' }, /with provider gmail, tenant cannot be given/],
    [{ ...gmail, authority: 'https://x.example' }, /with provider gmail, authority cannot be given/],
    [{ ...graph, serviceAccount: { file: 'account' } }, /with provider graph, serviceAccount cannot be given/],
    [{ ...graph, clientSecret: { file: 'missing' } }, /clientSecret: .*missing/],
    [{ ...graph, clientSecret: { file: 'open' } }, /clientSecret: .*open/],
    [{ ...gmail, serviceAccount: { file: 'secret' } }, /serviceAccount: expected the key file of a service account/],
    [{ ...gmail, serviceAccount: { file: 'plain' } }, /token_uri: expected https, or a loopback address/],
    [{ ...graph, endpoint: 'http://graph.example' }, /endpoint: expected https, or a loopback address/],
    [{ ...graph, authority: 'http://login.example' }, /authority: expected https/],
    [{ ...graph, mailboxes: ['anna'] }, /mailboxes: anna is no address/],
  ]
  for (const [api, pattern] of cases) t.match(read(api).faults, pattern, String(pattern))
  t.end()
})

t.test('the sample holds both providers, commented out', (t) => {
  const sample = readFileSync(new URL('../../gateway/gateway.sample.yaml', import.meta.url), 'utf8')
  const [, block = ''] = /\n( {4}# api:\n(?: {4}# {3}.*\n)+)/.exec(sample) ?? []
  const text = block.replace(/^ {4}# ?/gm, '')
  t.match(parse(text), { api: { provider: 'graph', mailboxes: ['anna@acme.example'] } })
  t.match(text, /# provider: gmail\n *# serviceAccount: \{file: /)
  t.end()
})
