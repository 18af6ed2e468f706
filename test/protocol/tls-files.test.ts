import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { loadTlsFiles } from '../../protocol/tls-files.ts'

const DAY = 86_400_000
const now = new Date()
const authority = await createAuthority(now)
const server = await issuePair(authority, { kind: 'server', names: ['localhost'] }, now)
const other = await issuePair(authority, { kind: 'server', names: ['localhost'] }, now)

function place(t: Tap, files: Record<string, string>) {
  const folder = t.testdir(files)
  for (const name of Object.keys(files)) if (name.endsWith('.key')) chmodSync(join(folder, name), 0o600)
  return (name: string) => join(folder, name)
}
type Tap = { testdir: (files: Record<string, string>) => string }

const good = { 'a.pem': server.cert, 'a.key': server.key, 'ca.pem': authority.cert }

function faultsOf(load: ReturnType<typeof loadTlsFiles>): readonly string[] {
  return load.kind === 'faults' ? load.faults : []
}

t.test('a matching pair and its authority are loaded as they stand in the files', async (t) => {
  const at = place(t, good)
  const load = loadTlsFiles({ cert: at('a.pem'), key: at('a.key'), ca: at('ca.pem') }, now)
  t.equal(load.kind, 'loaded')
  if (load.kind !== 'loaded') return
  t.equal(load.files.cert, readFileSync(at('a.pem'), 'utf8'))
  t.equal(load.files.key, server.key)
  t.equal(load.files.ca, authority.cert)
  t.equal(Math.round((load.files.expiresAt.getTime() - now.getTime()) / DAY), 365)
})

t.test('every fault is found at once, and each names its file', async (t) => {
  const at = place(t, { 'a.key': server.key })
  chmodSync(at('a.key'), 0o644)
  const faults = faultsOf(loadTlsFiles({ cert: at('a.pem'), key: at('a.key'), ca: at('ca.pem') }, now))
  t.equal(faults.length, 3)
  t.match(faults[0], /a\.pem: the certificate is missing; make it, or correct the path/)
  t.match(faults[1], new RegExp(`a\\.key: .*mode 0644\\); run: chmod 600 ${at('a.key')}$`))
  t.match(faults[2], /ca\.pem: the authority bundle is missing/)
})

for (const mode of [0o640, 0o604, 0o620, 0o610]) {
  t.test(`a key file of mode ${mode.toString(8)} is refused`, async (t) => {
    const at = place(t, good)
    chmodSync(at('a.key'), mode)
    t.match(faultsOf(loadTlsFiles({ cert: at('a.pem'), key: at('a.key') }, now)), [/can be reached by other users/])
  })
}

t.test('an expired certificate is refused with the day on which it expired', async (t) => {
  const at = place(t, good)
  const later = new Date(now.getTime() + 366 * DAY)
  const faults = faultsOf(loadTlsFiles({ cert: at('a.pem'), key: at('a.key') }, later))
  t.match(faults, [/a\.pem: this certificate expired on \d{4}-\d\d-\d\dT.*; renew it/])
})

t.test('a certificate that is not valid yet is refused, and the clock is named as a cause', async (t) => {
  const at = place(t, good)
  const earlier = new Date(now.getTime() - DAY)
  const faults = faultsOf(loadTlsFiles({ cert: at('a.pem'), key: at('a.key') }, earlier))
  t.match(faults, [/a\.pem: this certificate is not valid before .*; check the clock/])
})

t.test('a key that belongs to another certificate is refused, and both files are named', async (t) => {
  const at = place(t, { ...good, 'a.key': other.key })
  const faults = faultsOf(loadTlsFiles({ cert: at('a.pem'), key: at('a.key') }, now))
  t.match(faults, [/a\.key: this key does not belong to the certificate in .*a\.pem/])
})

t.test('files that hold something else are refused, and nothing of them is quoted', async (t) => {
  const secret = 'hunter2-hunter2'
  const at = place(t, {
    'a.pem': secret,
    'a.key': `-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----`,
    'ca.pem': '',
  })
  const faults = faultsOf(loadTlsFiles({ cert: at('a.pem'), key: at('a.key'), ca: at('ca.pem') }, now))
  t.match(faults, [
    /a\.pem: holds no readable PEM certificate/,
    /a\.key: holds no readable PEM private key/,
    /ca\.pem: holds no/,
  ])
  t.notMatch(faults.join(), secret)
})

t.test('a bundle in which no authority is valid is refused, one with a single valid authority is not', async (t) => {
  const old = await createAuthority(new Date(now.getTime() - 4000 * DAY))
  const at = place(t, { ...good, 'old.pem': old.cert, 'both.pem': old.cert + authority.cert })
  const load = (ca: string) => loadTlsFiles({ cert: at('a.pem'), key: at('a.key'), ca: at(ca) }, now)
  t.match(faultsOf(load('old.pem')), [/old\.pem: no authority in it is valid today/])
  t.equal(load('both.pem').kind, 'loaded')
})

t.test('a folder or a huge file in the place of a certificate is a fault, not an exception', async (t) => {
  const at = place(t, good)
  t.match(faultsOf(loadTlsFiles({ cert: at('.'), key: at('a.key') }, now)), [/must be a file/])
  writeFileSync(at('big.pem'), Buffer.alloc(5 * 1024 * 1024))
  t.match(faultsOf(loadTlsFiles({ cert: at('big.pem'), key: at('a.key') }, now)), [/too large for the certificate/])
})

t.test('a key with a pass phrase is refused with the advice to store it without one', async (t) => {
  const { generateKeyPairSync } = await import('node:crypto')
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
  })
  const at = place(t, { ...good, 'a.key': privateKey })
  t.match(faultsOf(loadTlsFiles({ cert: at('a.pem'), key: at('a.key') }, now)), [
    /a\.key: the private key has a pass phrase/,
  ])
})
