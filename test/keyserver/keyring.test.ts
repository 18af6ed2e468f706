import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type KekProvider, openKekFile } from '../../keyserver/kek-file.ts'
import { openKeyFolder } from '../../keyserver/key-store.ts'
import { openKeyring, openSecret, sealSecret, unwrapDataKey, wrapDataKey } from '../../keyserver/keyring.ts'
import { openOctets, sealOctets } from '../../keyserver/sealing.ts'
import type { EnvelopeId } from '../../protocol/identifiers.ts'
import { acme, known, openPremises, other } from './premises.ts'

const octets = (value: number, length = 32) => new Uint8Array(length).fill(value)
const hex = (value: Uint8Array | null) => (value === null ? null : Buffer.from(value).toString('hex'))
const envelope = 'AAECAwQFBgcICQoLDA0ODw' as EnvelopeId
const context = { org: acme, envelope, termsHash: 'dGVybXM' }

// Made with Python's cryptography (AESGCM): an implementation of its own, from the words of docs/format.md.
const KNOWN = {
  wrapped:
    '030303030303030303030303fa631698fd86356baffee465ce1b26aaba31a34f85cdc0b0ae12bf44a84884710c811358cd07a7ac631f9235e6a27a43',
  sealed:
    '06060606060606060606060620d991defc0e1d6a316659f5a0f6b8ca8739d71dc526a1efb0104362a42761de7cbc60eddbfea94e4840a75da9f2cfd1',
}

t.test('known answers: the data key under the secret, the secret under the bucket key', async (t) => {
  const wrapAad = 'sealpost/wrap/v1\nacme.example\nAAECAwQFBgcICQoLDA0ODw\ndGVybXM'
  t.equal(hex(sealOctets(octets(1), octets(2), wrapAad, octets(3, 12))), KNOWN.wrapped)
  t.equal(hex(unwrapDataKey(octets(1), Buffer.from(KNOWN.wrapped, 'hex'), context)), hex(octets(2)))
  const place = { org: acme, envelope, bucket: '2026-12-22.1' }
  t.equal(hex(openSecret(octets(4), Buffer.from(KNOWN.sealed, 'hex'), place)), hex(octets(5)))
})

t.test('a wrapped key opens only as a whole, under its secret, in its own context', async (t) => {
  const wrapped = wrapDataKey(octets(1), octets(2), context)
  t.equal(wrapped.length, 60)
  t.equal(hex(unwrapDataKey(octets(1), wrapped, context)), hex(octets(2)))
  t.equal(unwrapDataKey(octets(9), wrapped, context), null)
  t.equal(unwrapDataKey(octets(1), wrapped, { ...context, org: other }), null)
  t.equal(unwrapDataKey(octets(1), wrapped, { ...context, termsHash: 'x' }), null)
  t.equal(unwrapDataKey(octets(1), wrapped.subarray(0, 59), context), null)
  for (let bit = 0; bit < 480; bit++) {
    const altered = Uint8Array.from(wrapped)
    altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    if (unwrapDataKey(octets(1), altered, context) !== null) t.fail(`bit ${bit} may be altered`)
  }
  const place = { org: acme, envelope, bucket: '2026-12-22.1' }
  const sealed = sealSecret(octets(4), octets(5), place)
  t.equal(sealed.length, 60)
  t.equal(openSecret(octets(4), sealed, { ...place, bucket: '2026-12-22.2' }), null)
  t.equal(openOctets(octets(4), new Uint8Array(5), 'x'), null)
})

async function open(t: Test, folder = t.testdir()) {
  const kek = await openKekFile(join(folder, 'kek'), !existsSync(join(folder, 'kek')))
  return { folder, kek, keyring: await openKeyring(kek, await openKeyFolder(join(folder, 'keys'))) }
}

t.test('keys are the same after a restart, and lie wrapped in files that only we can read', async (t) => {
  const { folder, kek, keyring } = await open(t)
  const day = Date.UTC(2026, 11, 22, 23, 59)
  const [bucket, same] = await Promise.all([keyring.currentBucket(acme, day), keyring.currentBucket(acme, day)])
  t.equal(bucket.id, '2026-12-22.1')
  t.equal(same.key, bucket.key, 'two who ask at once get one')
  t.not(hex((await keyring.currentBucket(other, day)).key), hex(bucket.key))
  const persons = await keyring.makePersonKeys(acme, ['AAAAAAAAAAAAAAAAAAAAAA', '-BBBBBBBBBBBBBBBBBBBBA'])
  const again = await open(t, folder)
  t.equal(again.kek.id, kek.id)
  t.equal(hex((await again.keyring.currentBucket(acme, day)).key), hex(bucket.key))
  t.equal(again.keyring.signer.kid, keyring.signer.kid)
  t.equal(hex(again.keyring.derive('codes')), hex(keyring.derive('codes')))
  t.not(hex(keyring.derive('codes')), hex(keyring.derive('nonces')))
  t.equal(
    hex(await again.keyring.personKey(acme, '-BBBBBBBBBBBBBBBBBBBBA')),
    hex(known(persons.get('-BBBBBBBBBBBBBBBBBBBBA'))),
  )
  t.equal(await again.keyring.personKey(other, '-BBBBBBBBBBBBBBBBBBBBA'), null)
  const file = join(folder, 'keys/buckets/acme.example/2026-12-22.1.key')
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.notOk(readFileSync(file).includes(Buffer.from(bucket.key)))
  t.strictSame(readdirSync(join(folder, 'keys/buckets/acme.example')), ['2026-12-22.1.key'], 'no scratch file is left')
})

t.test('a fresh bucket takes the place of one that is then destroyed for good', async (t) => {
  const { folder, keyring } = await open(t)
  const day = Date.UTC(2026, 11, 22)
  const old = await keyring.currentBucket(acme, day)
  const fresh = await keyring.freshBucket(acme, old.id)
  t.equal(fresh.id, '2026-12-22.2')
  t.ok(keyring.isRetired(acme, old.id))
  t.notOk(keyring.isRetired(acme, fresh.id))
  t.equal((await keyring.currentBucket(acme, day)).id, fresh.id)
  await keyring.destroyBucket(acme, old.id)
  t.equal(await keyring.bucket(acme, old.id), null)
  t.strictSame(await keyring.buckets(), [{ org: acme, id: fresh.id }])
  const again = await open(t, folder)
  t.equal(await again.keyring.bucket(acme, old.id), null)
  t.equal((await again.keyring.currentBucket(acme, day)).id, fresh.id)
})

t.test('a wrapped key that was moved or altered is refused, not used', async (t) => {
  const { folder, keyring } = await open(t)
  await keyring.currentBucket(acme, Date.UTC(2026, 11, 22))
  const buckets = join(folder, 'keys/buckets/acme.example')
  writeFileSync(join(buckets, '2026-12-23.1.key'), readFileSync(join(buckets, '2026-12-22.1.key')))
  const again = await open(t, folder)
  await t.rejects(again.keyring.bucket(acme, '2026-12-23.1'), /was altered/)
})

t.test('names in the key store cannot leave it', async (t) => {
  const keys = await openKeyFolder(t.testdir())
  for (const name of ['../x', '/x', 'a/../b', 'a//b', '', '.x', 'a\0b'])
    await t.rejects(keys.get(name), /not a name/, name)
})

t.test(
  'the organization key file: made once, refused when others can read it, or when it is missing or damaged',
  async (t) => {
    const file = join(t.testdir(), 'kek')
    await t.rejects(openKekFile(file, false), /kek is missing/)
    const made = await openKekFile(file, true)
    t.equal(statSync(file).mode & 0o777, 0o600)
    t.equal((await openKekFile(file, false)).id, made.id)
    await made.health()
    chmodSync(file, 0o640)
    await t.rejects(openKekFile(file, false), /kek can be read by others \(mode 640\): chmod 600/)
    chmodSync(file, 0o600)
    writeFileSync(file, readFileSync(file, 'utf8').replace(/.{3}\s*$/, 'AAA\n'))
    await t.rejects(openKekFile(file, false), /kek is damaged/)
    rmSync(file)
    await t.rejects(made.health(), /is gone/)
  },
)

t.test('a provider of another kind serves as well', async (t) => {
  const kek: KekProvider = {
    id: 'elsewhere',
    wrap: async (key, aad) => sealOctets(octets(8), key, aad),
    unwrap: async (wrapped, aad) => openOctets(octets(8), wrapped, aad),
    health: async () => undefined,
  }
  const keyring = await openKeyring(kek, await openKeyFolder(t.testdir()))
  await keyring.health()
  t.equal((await keyring.currentBucket(acme, 0)).id, '1970-01-01.1')
})

t.test('a start with a key, key store or database that do not belong together is refused, saying which', async (t) => {
  const premises = await openPremises(t.testdir())
  const { kek, keyStore, database } = premises.config
  const rightKey = readFileSync(kek.file)
  await premises.server.parts.keyring.currentBucket(acme, Date.now())
  await premises.server.close()
  const start = async () => {
    await premises.restart()
    await premises.server.close()
  }
  rmSync(kek.file)
  await t.rejects(start(), /organization\.key is missing/)
  await openKekFile(kek.file, true)
  await t.rejects(start(), /is another one/)
  writeFileSync(kek.file, rightKey)
  renameSync(database, `${database}.away`)
  await t.rejects(start(), /the database .* is empty, but the key store .* holds keys of messages/)
  renameSync(`${database}.away`, database)
  const signing = join(keyStore, 'server', 'signing.key')
  renameSync(signing, `${signing}.away`)
  await t.rejects(start(), /does not hold the keys of the database/, 'the log would go on under another key')
  rmSync(keyStore, { recursive: true })
  await t.rejects(start(), /does not hold the keys of the database/)
  rmSync(kek.file)
  t.ok(existsSync(database))
  await t.rejects(start(), /organization\.key is missing/, 'the database alone keeps a new key from being made')
})
