import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openSecret } from '../../keyserver/keyring.ts'
import { rekey } from '../../keyserver/shredder.ts'
import type { EnvelopeId } from '../../protocol/identifiers.ts'
import { acme, known, onlyEnvelope, openPremises, type Premises, sealed, sealing } from './premises.ts'

const HOUR = 3_600_000

/** Where in the database's files these octets stand. */
function placesOf(premises: Premises, octets: Uint8Array): readonly string[] {
  const files = readdirSync(premises.folder).filter((name) => name.startsWith('keyserver.sqlite'))
  return files.filter((name) => readFileSync(join(premises.folder, name)).includes(Buffer.from(octets)))
}

async function confirmed(premises: Premises, count: number): Promise<readonly EnvelopeId[]> {
  const gw1 = premises.client('gw1')
  const ids: EnvelopeId[] = []
  for (let left = count; left > 0; left -= 50) {
    const requests = Array.from({ length: Math.min(left, 50) }, () => sealing(premises, ['bob@example.org']))
    const results = await gw1.bulk<Parameters<typeof onlyEnvelope>[0]>('/v1/issue', requests)
    const some = results.map((result) => onlyEnvelope(result).id)
    await gw1.bulk(
      '/v1/confirm',
      some.map((id) => sealed(id, ['bob@example.org'])),
    )
    ids.push(...some)
  }
  return ids
}

const find = async (premises: Premises, id: EnvelopeId) =>
  known(await premises.server.parts.store.read((reads) => reads.envelopes.find(id)))

t.test('after the shred no file of the database holds the octets of a sealed secret', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const ids = await confirmed(premises, 300)
  const secrets = await Promise.all(ids.map(async (id) => known((await find(premises, id)).sealedSecret)))
  t.not(placesOf(premises, known(secrets[0])).length, 0, 'they can be found before')
  const officer = premises.client('officer1')
  for (const id of ids.filter((_, i) => i % 3 === 0))
    await officer.post('/v1/revoke', { org: acme, id, reason: 'wrong' })
  await premises.server.shred()
  const left = secrets.filter((secret, i) => i % 3 === 0 && placesOf(premises, secret).length > 0)
  t.equal(left.length, 0)
  t.equal((await find(premises, known(ids[0]))).sealedSecret, null)
  t.ok((await find(premises, known(ids[1]))).sealedSecret)
})

t.test('what expires is refused by its time, shredded, told to its gateway, and written down', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const [id = '' as EnvelopeId] = await confirmed(premises, 1)
  premises.pass(HOUR - 1_000)
  await premises.server.shred()
  t.ok((await find(premises, id)).sealedSecret, 'not a second early')
  premises.pass(2_000)
  await premises.server.shred()
  const gone = await find(premises, id)
  t.equal(gone.sealedSecret, null)
  t.ok(gone.shreddedAt)
  t.match((await premises.client('gw1').get('/v1/changes')).body, { changes: [{ id, kind: 'shredded' }] })
  t.strictSame((await kindsAbout(premises, id)).slice(-2), ['expired', 'shredded'])
})

t.test('what nobody confirmed is withdrawn and shredded', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const { id } = onlyEnvelope(await premises.client('gw1').issue(sealing(premises, ['bob@example.org'])))
  premises.pass(10 * 60_000 + 1)
  await premises.server.shred()
  t.strictSame((await kindsAbout(premises, id)).slice(-2), ['withdrawn', 'shredded'])
})

t.test('what surely reached nobody is withdrawn; what may have reached somebody stays', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const gw1 = premises.client('gw1')
  const [sure = '' as EnvelopeId, doubtful = '' as EnvelopeId] = await confirmed(premises, 2)
  const report = (id: EnvelopeId, outcome: string) =>
    gw1.bulk('/v1/outcome', [{ org: acme, id, recipient: 'bob@example.org', outcome, reply: '550 no such user' }])
  await report(sure, 'failed')
  await report(doubtful, 'unknown')
  await report(doubtful, 'failed')
  await premises.server.shred()
  t.equal((await find(premises, sure)).sealedSecret, null)
  t.strictSame((await kindsAbout(premises, sure)).slice(-2), ['withdrawn', 'shredded'])
  t.ok((await find(premises, doubtful)).sealedSecret)
})

t.test('a bucket key goes a day after its day, and not before', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const [id = '' as EnvelopeId] = await confirmed(premises, 1)
  const bucket = known((await find(premises, id)).bucket)
  const file = join(premises.config.keyStore, 'buckets', acme, `${bucket}.key`)
  premises.pass(HOUR + 1_000)
  await premises.server.shred()
  t.ok(existsSync(file), 'its day is not over')
  premises.pass(48 * HOUR)
  await premises.server.shred()
  t.notOk(existsSync(file))
})

t.test('rekeying makes an early shred final: the living open under the new key, the old is gone', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const { parts } = premises.server
  const [alive = '' as EnvelopeId, dead = '' as EnvelopeId] = await confirmed(premises, 2)
  const before = await find(premises, alive)
  const bucket = known(before.bucket)
  const old = known(await parts.keyring.bucket(acme, bucket))
  const oldKey = Uint8Array.from(old.key)
  const context = { org: acme, envelope: alive }
  const secret = known(openSecret(oldKey, known(before.sealedSecret), { ...context, bucket }))
  await premises.client('officer1').post('/v1/revoke', { org: acme, id: dead, reason: 'wrong' })
  // While it is rekeyed, mail goes on being sealed.
  const gw1 = premises.client('gw1')
  const [, ...issued] = await Promise.all([
    rekey(parts, acme, bucket),
    ...Array.from({ length: 20 }, () => gw1.issue(sealing(premises, ['carl@example.org']))),
  ])
  const after = await find(premises, alive)
  t.not(after.bucket, bucket)
  const fresh = known(await parts.keyring.bucket(acme, known(after.bucket)))
  const opened = openSecret(fresh.key, known(after.sealedSecret), { ...context, bucket: fresh.id })
  t.strictSame(opened, secret)
  t.equal(await parts.keyring.bucket(acme, bucket), null)
  for (const result of issued) {
    const made = await find(premises, onlyEnvelope(result).id)
    t.ok(
      await parts.keyring.bucket(acme, known(made.bucket)),
      'what was issued meanwhile lies under a key that is there',
    )
  }
})

async function kindsAbout(premises: Premises, id: EnvelopeId): Promise<readonly string[]> {
  const { default: Database } = await import('better-sqlite3')
  const database = new Database(premises.config.database, { readonly: true })
  const rows = database
    .prepare<[string], { record: Buffer }>('select record from log_leaf where log = ? order by idx')
    .all(acme)
  database.close()
  const records = rows.map(({ record }) => JSON.parse(record.toString('utf8')) as { kind: string; envelope?: string })
  return records.filter(({ envelope }) => envelope === id).map(({ kind }) => kind)
}
