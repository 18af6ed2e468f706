import { importJWK, jwtVerify } from 'jose'
import t from 'tap'
import { openHouse } from './house.ts'

t.test('a ticket is an EdDSA JWS for one envelope and one minute, by a key of GET /v1/keys', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const bea = await house.proven(id, 'bea@example.org')
  const { ticket, urls } = await bea.ticket(id)
  t.same(urls, [`https://copies.acme.example/e/${id}`])
  const { jwk } = house.parts.keyring.signer
  const { payload, protectedHeader } = await jwtVerify(ticket, await importJWK(jwk, 'EdDSA'), { algorithms: ['EdDSA'] })
  t.same(protectedHeader, { alg: 'EdDSA', kid: jwk.kid })
  t.same(Object.keys(payload), ['env', 'exp'])
  t.equal(payload.env, id)
  const left = (payload.exp ?? 0) - Date.now() / 1000
  t.ok(left > 50 && left <= 60)
  t.match((await house.records()).at(-1), { kind: 'ticket', envelope: id })
})

t.test('the addresses are those of the gateways that confirmed a copy, the newest first, each once', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const copy = { envelope: id, sealedSize: 1, plainSize: 1 }
  await house.parts.store.transact(async (tx) => {
    const at = house.parts.clock.now()
    await tx.envelopes.addCopy({ ...copy, digest: 'b'.repeat(43), gateway: 'gw1', at: at + 10 })
    await tx.envelopes.addCopy({ ...copy, digest: 'c'.repeat(43), gateway: 'gone', at: at + 20 })
  })
  const bea = await house.proven(id, 'bea@example.org')
  t.same(
    (await bea.ticket(id)).urls,
    [`https://copies.acme.example/e/${id}`],
    'a gateway that is configured no more has none',
  )
})
