import t from 'tap'
import { openHouse } from './house.ts'

t.test('a recipient asks for a code, answers it, and gets the key with all that was promised', async (t) => {
  const house = await openHouse(t.testdir())
  t.teardown(() => house.close())
  const { id, dataKey, wrappedKey, digest } = await house.issue()
  const bea = await house.proven(id, 'Bea@Example.ORG')
  const release = await bea.releaseKey(id, wrappedKey)
  t.equal(release.dataKey, Buffer.from(dataKey).toString('base64url'))
  t.match(release, { org: 'acme.example', sender: 'anna@acme.example', role: 'recipient' })
  t.same(release.copies, [{ digest, sealedSize: 1000, plainSize: 900 }])
})
