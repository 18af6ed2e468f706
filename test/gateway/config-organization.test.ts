import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { organizationOf } from '../../gateway/config-organization.ts'
import type { Reading } from '../../gateway/config-reading.ts'
import type { ConfigFile } from '../../gateway/config-schema.ts'

const folder = t.testdir({ secret: 'very secret' })
chmodSync(join(folder, 'secret'), 0o600)
type NextHop = Exclude<ConfigFile['organizations'][string]['nextHop'], 'mx'>

function read(nextHop: Partial<NextHop>) {
  const faults: string[] = []
  const file = { name: 'gw1.acme.example' } as ConfigFile
  const reading: Reading = { file, at: (name) => join(folder, name), faults, now: new Date() }
  const org = { name: 'Acme', nextHop: { host: 'smtp.office365.com', port: 587, ...nextHop } }
  const hop = organizationOf(reading, 'acme.example', org).nextHop
  return { auth: hop.kind === 'relay' ? hop.auth : undefined, faults: faults.join('\n') }
}

const user = 'anna@acme.example'
const password = { file: 'secret' }
const oauth = { cloud: 'microsoft', tenant: 'acme.example', clientId: 'app-1', clientSecret: password } as const

t.test('the next hop is signed in to with a password, a token, or not at all', (t) => {
  t.same(read({}), { auth: undefined, faults: '' })
  t.same(read({ user, password }), { auth: { user, password: 'very secret' }, faults: '' })
  t.match(read({ user, oauth }), { auth: { user, tokens: { token: Function } }, faults: '' })
  t.end()
})

t.test('a sign-in that is only half there is told', (t) => {
  const cases: readonly [Partial<NextHop>, RegExp][] = [
    [{ user }, /nextHop: user goes together with password or oauth/],
    [{ password }, /nextHop: user goes together/],
    [{ oauth }, /nextHop: user goes together/],
    [{ user, password, oauth }, /nextHop: user goes together/],
    [{ user, oauth: { cloud: 'microsoft' } }, /oauth: with cloud microsoft, tenant, clientId must be given/],
    [{ user, oauth: { ...oauth, cloud: 'google' } }, /oauth: with cloud google, tenant, clientId, clientSecret cannot/],
    [{ user, oauth: { ...oauth, authority: 'http://login.example' } }, /oauth > authority: expected https/],
  ]
  for (const [nextHop, pattern] of cases) t.match(read(nextHop).faults, pattern, String(pattern))
  t.end()
})
