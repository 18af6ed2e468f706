import { createHash, randomBytes } from 'node:crypto'
import { Agent, get } from 'node:https'
import { exportJWK } from 'jose'
import { pino } from 'pino'
import t from 'tap'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { thumbprintOf } from '../../keyserver/dpop.ts'
import { createPublicApp } from '../../keyserver/public.ts'
import { parseRelease } from '../../reader/answer.ts'
import { createApi } from '../../reader/api.ts'
import { fromBase64url } from '../../reader/base64url.ts'
import { createProofKey } from '../../reader/dpop.ts'
import { createAgreementKey, openJwe } from '../../reader/jwe.ts'
import { address, openHouse, org } from './house.ts'
import { known, onlyEnvelope, openPremises, sealed, sealing } from './premises.ts'

t.test(
  'what was issued and confirmed over mTLS is released to its recipient, and to nobody before it is confirmed',
  async (t) => {
    const premises = await openPremises(t.testdir())
    t.teardown(() => premises.close())
    const { store, clock } = premises.server.parts
    const gateway = premises.client('gw1')
    const { id, key } = onlyEnvelope(await gateway.issue(sealing(premises, ['bea@example.org'])))
    const proofKey = await createProofKey()
    const { x = '', y = '' } = await exportJWK(proofKey.publicKey)
    const token = randomBytes(32).toString('base64url')
    const session = { org, address: address('bea@example.org'), thumbprint: thumbprintOf({ x, y }) }
    const until = { createdAt: clock.now(), expiresAt: clock.now() + 3_600_000 }
    const hash = createHash('sha256').update(token).digest('base64url')
    await store.transact((tx) => tx.sessions.add({ id: hash, ...session, ...until }))
    const { origin } = new URL(premises.config.public.url)
    const reach: typeof fetch = (path, init) => fetch(new URL(String(path), premises.server.addresses.public), init)
    const api = createApi({ origin, key: proofKey, fetch: reach })
    const wrapped = known(fromBase64url(known(key).wrappedKey))
    const agreement = await createAgreementKey()
    const early = await api.release(token, id, wrapped, agreement)
    t.match(early, { kind: 'problem', problem: { code: 'not-for-you' } })
    const copy = sealed(id, ['bea@example.org'])
    await gateway.bulk('/v1/confirm', [copy])
    const answer = await api.release(token, id, wrapped, agreement)
    if (answer.kind !== 'ok') throw new Error(JSON.stringify(answer))
    const release = parseRelease(await openJwe(answer.value, agreement, { envelope: id, proof: answer.proof }))
    t.equal(release?.dataKey, known(key).dataKey)
    t.equal(release?.termsHash, known(key).termsHash)
    t.match(release?.copies, [{ digest: copy.sealed.digest, plainSize: 1000 }])
    t.match((await api.ticket(token, id)).kind, 'ok')
    await premises.restart()
    const again = createApi({ origin, key: proofKey, fetch: reach })
    t.equal(
      (await again.release(token, id, wrapped, agreement)).kind,
      'ok',
      'a restart forgets neither session nor key',
    )
  },
)

t.test(
  'the public listener speaks TLS itself where it has a certificate, and then asks for TLS for good',
  async (t) => {
    const house = await openHouse(t)
    const now = new Date()
    const authority = await createAuthority(now)
    const pair = await issuePair(authority, { kind: 'server', names: ['localhost'] }, now)
    const config = {
      ...house.parts.config,
      public: { ...house.parts.config.public, url: 'https://localhost', tls: { ...pair, ca: null } },
    }
    const app = await createPublicApp({ ...house.parts, config, log: pino({ level: 'silent' }) })
    t.teardown(() => app.close())
    const base = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
    const agent = new Agent({ ca: authority.cert })
    t.teardown(() => agent.destroy())
    const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
      const asked = get(
        { host: '127.0.0.1', port: base.port, path: '/health/live', servername: 'localhost', agent },
        (response) => {
          response.resume()
          resolve(response.headers)
        },
      )
      asked.on('error', reject)
    })
    t.match(headers['strict-transport-security'], /max-age=31536000/)
  },
)
