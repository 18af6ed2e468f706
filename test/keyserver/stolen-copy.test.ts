import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openSecret } from '../../keyserver/keyring.ts'
import { acme, known, onlyEnvelope, openPremises, sealed, sealing } from './premises.ts'

/** The files below a folder in which these octets stand, as they are or in one of the usual writings. */
function filesWith(folder: string, octets: Uint8Array): string[] {
  const buffer = Buffer.from(octets)
  const writings = [buffer, ...(['hex', 'base64', 'base64url'] as const).map((as) => Buffer.from(buffer.toString(as)))]
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name))
  return files.filter((file) => {
    if (!statSync(file).isFile()) return false
    const content = readFileSync(file)
    return writings.some((writing) => content.includes(writing))
  })
}

t.test('no file of the key server holds a data key, an envelope secret or a bucket key in the clear', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const [result] = await premises
    .client('gw1')
    .bulk<Parameters<typeof onlyEnvelope>[0]>('/v1/issue', [sealing(premises, ['bob@example.org'])])
  const issued = onlyEnvelope(known(result))
  await premises.client('gw1').bulk('/v1/confirm', [sealed(issued.id, ['bob@example.org'])])
  const { store, keyring } = premises.server.parts
  const row = known(await store.read((reads) => reads.envelopes.find(issued.id)))
  const bucket = known(await keyring.bucket(acme, known(row.bucket)))
  const secret = known(
    openSecret(bucket.key, known(row.sealedSecret), { org: acme, envelope: issued.id, bucket: bucket.id }),
  )
  const dataKey = Buffer.from(known(issued.key).dataKey, 'base64url')
  t.not(
    filesWith(premises.folder, known(row.sealedSecret)).length,
    0,
    'the sealed secret is found, so the search works',
  )
  t.same(filesWith(premises.folder, dataKey), [], 'the data key')
  t.same(filesWith(premises.folder, secret), [], 'the envelope secret')
  t.same(filesWith(premises.folder, bucket.key), [], 'the bucket key')
})

t.test('what the key server writes can be read by its own account alone', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  onlyEnvelope(await premises.client('gw1').issue(sealing(premises, ['bob@example.org'])))
  const names = readdirSync(premises.folder, { recursive: true, encoding: 'utf8' })
  const written = names.filter((name) => !name.startsWith('policies') && statSync(join(premises.folder, name)).isFile())
  for (const name of ['keyserver.sqlite', 'keyserver.sqlite-wal', 'keyserver.sqlite-shm', 'organization.key'])
    t.ok(written.includes(name), `there is ${name}`)
  for (const name of written) t.equal(statSync(join(premises.folder, name)).mode & 0o077, 0, name)
})
