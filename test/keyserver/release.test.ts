import t from 'tap'
import { Refused } from '../../cli/recipient.ts'
import { KeyServerError } from '../../keyserver/error.ts'
import { createLimits } from '../../keyserver/limits.ts'
import type { Tx } from '../../keyserver/store.ts'
import { createApi } from '../../reader/api.ts'
import { createProofKey } from '../../reader/dpop.ts'
import { address, fetchAt, type House, openHouse, org } from './house.ts'

const DAY = 86_400_000

/** Fetch for the page's own API client, which names paths. */
function wholly(house: House): typeof fetch {
  const reach = fetchAt(house.base, '203.0.113.77')
  return (path, init) => reach(new URL(String(path), house.origin), init)
}

async function refusal(work: Promise<unknown>) {
  try {
    await work
    return null
  } catch (error) {
    if (error instanceof Refused) return error.problem
    throw error
  }
}

t.test('a recipient asks for a code, answers it, and gets the key with all that was promised', async (t) => {
  const house = await openHouse(t)
  const { id, dataKey, wrappedKey, digest } = await house.issue()
  const bea = await house.proven(id, 'Bea@Example.ORG')
  const release = await bea.releaseKey(id, wrappedKey)
  t.equal(release.dataKey, Buffer.from(dataKey).toString('base64url'))
  t.match(release, { org: 'acme.example', sender: 'anna@acme.example', role: 'recipient' })
  t.same(release.copies, [{ digest, sealedSize: 1000, plainSize: 900 }])
  const again = await house.issue()
  t.ok(await bea.releaseKey(again.id, again.wrappedKey), 'one session opens what else is for this person')
  const records = await house.records()
  t.same(
    records.map(({ kind }) => kind),
    ['code-sent', 'session', 'released', 'released'],
  )
  t.match(records[2], { envelope: id, role: 'recipient', proof: 'code', rule: 'everybody', policyHash: 'a'.repeat(64) })
  const clear = JSON.stringify(records)
  for (const personal of ['bea@', '198.51.100', Buffer.from(dataKey).toString('base64url')]) {
    t.notOk(clear.includes(personal), `no record holds ${personal} in the clear`)
  }
})

t.test('the sender may open what they sent', async (t) => {
  const house = await openHouse(t)
  const { id, wrappedKey } = await house.issue()
  const anna = await house.proven(id, 'anna@acme.example')
  t.match(await anna.releaseKey(id, wrappedKey), { role: 'sender' })
})

t.test(
  'a stranger gets one answer for unknown, unconfirmed, expired, revoked and somebody else’s messages',
  async (t) => {
    const house = await openHouse(t)
    const own = await house.issue()
    const bea = await house.proven(own.id, 'bea@example.org')
    const others = { recipients: ['cleo@example.net'] }
    const expired = await house.issue({ ...others, ttlSeconds: 60 })
    const revoked = await house.issue(others)
    await (await house.proven(revoked.id, 'anna@acme.example')).revoke(revoked.id)
    house.advance(120_000)
    const cases = [
      { ...own, id: 'AAAAAAAAAAAAAAAAAAAAAA' },
      await house.issue({ confirmed: false }),
      await house.issue(others),
      await house.issue({ ...others, sender: null }),
      expired,
      revoked,
    ]
    const answers = new Set<string>()
    for (const { id, wrappedKey } of cases) {
      answers.add(JSON.stringify(await refusal(bea.releaseKey(id, wrappedKey))))
      answers.add(JSON.stringify(await refusal(bea.ticket(id))))
      answers.add(JSON.stringify(await refusal(bea.revoke(id))))
    }
    t.equal(answers.size, 1)
    t.match([...answers][0], /"code":"not-for-you"/)
  },
)

t.test('strangers are counted, one record for network, reason and minute', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const bea = await house.proven(id, 'bea@example.org')
  const other = await house.issue({ recipients: ['cleo@example.net'] })
  for (let i = 0; i < 25; i++) await refusal(bea.releaseKey(other.id, other.wrappedKey))
  await house.close()
  const counted = (await house.records()).filter(({ kind }) => kind === 'strangers')
  t.ok(counted.length <= 2, 'at most two minutes')
  t.equal(
    counted.reduce((sum, record) => sum + (record.kind === 'strangers' ? record.count : 0), 0),
    25,
  )
})

t.test('a proven person is told what happened: revoked before expired, with the time', async (t) => {
  const house = await openHouse(t)
  const { id, wrappedKey } = await house.issue({ ttlSeconds: 3600 })
  const bea = await house.proven(id, 'bea@example.org')
  const anna = await house.proven(id, 'anna@acme.example')
  t.match(await refusal(bea.revoke(id)), { code: 'not-authorised', detail: /Only the sender/ })
  const brief = await house.issue({ ttlSeconds: 60 })
  house.advance(61_000)
  t.match(await refusal(bea.releaseKey(brief.id, brief.wrappedKey)), { code: 'expired', status: 410, at: /Z$/ })
  t.match(await refusal(bea.ticket(brief.id)), { code: 'expired', at: /Z$/ })
  const at = await anna.revoke(id)
  t.equal(await anna.revoke(id), at, 'revoking again answers when it was')
  house.advance(3_600_000)
  t.match(await refusal(bea.releaseKey(id, wrappedKey)), { code: 'revoked', status: 410, at })
  t.match(await refusal(anna.releaseKey(id, wrappedKey)), { code: 'revoked' }, 'for the sender too')
  const kinds = (await house.records()).map(({ kind }) => kind)
  for (const kind of ['revoked', 'revoke-refused', 'release-refused', 'ticket-refused'] as const)
    t.ok(kinds.includes(kind), kind)
  t.equal(kinds.filter((kind) => kind === 'revoked').length, 1)
})

t.test('what is held opens for nobody, and a proven recipient is told that it was not sent yet', async (t) => {
  const house = await openHouse(t)
  const { id, wrappedKey } = await house.issue({ kind: 'hold' })
  for (const who of ['bea@example.org', 'anna@acme.example']) {
    const person = await house.proven(id, who)
    const told = { code: 'held', status: 409, detail: /has not been sent yet/, at: /Z$/ }
    t.match(await refusal(person.releaseKey(id, wrappedKey)), told, who)
    t.match(await refusal(person.ticket(id)), told, who)
  }
  const anna = await house.proven(id, 'anna@acme.example')
  t.match(await anna.revoke(id), /Z$/, 'its sender can take it back')
  t.match(await refusal(anna.releaseKey(id, wrappedKey)), { code: 'revoked' })
  const refused = (await house.records()).filter(({ kind }) => kind === 'release-refused' || kind === 'ticket-refused')
  t.match(refused[0], { reason: 'held' })
})

t.test('a rule denies with its own words, and sees who asks for what', async (t) => {
  const house = await openHouse(t)
  const { id, wrappedKey } = await house.issue()
  const bea = await house.proven(id, 'bea@example.org', '::ffff:203.0.113.9')
  house.decide = (facts) => {
    t.match(facts, {
      person: { address: 'bea@example.org', domain: 'example.org', internal: false, role: 'recipient' },
      envelope: { sender: 'anna@acme.example', rule: 'outside', secondsLeft: Number },
      request: { ip: '203.0.113.9', proof: 'code' },
    })
    return { kind: 'deny', rule: 'office-hours', because: 'Only from nine to five.' }
  }
  const problem = await refusal(bea.releaseKey(id, wrappedKey))
  t.match(problem, { code: 'denied-by-rule', rule: 'office-hours', detail: 'Only from nine to five.' })
  const last = (await house.records()).at(-1)
  t.match(last, { kind: 'release-refused', reason: 'denied-by-rule', rule: 'office-hours' })
})

t.test('the bulk-open budget holds, also for requests that come all at once', async (t) => {
  const house = await openHouse(t, { opensPerPersonPerHour: 3 })
  const { id, wrappedKey } = await house.issue()
  const bea = await house.proven(id, 'bea@example.org')
  const codes = await Promise.all(
    Array.from({ length: 10 }, async () => (await refusal(bea.releaseKey(id, wrappedKey)))?.code),
  )
  t.equal(codes.filter((code) => code === undefined).length, 3)
  t.equal(codes.filter((code) => code === 'too-many').length, 7)
  house.advance(3_600_001)
  t.equal(await refusal(bea.releaseKey(id, wrappedKey)).then((problem) => problem?.code), 'expired')
  const fresh = await house.issue()
  t.ok(await bea.releaseKey(fresh.id, fresh.wrappedKey), 'an hour later there is a new budget')
})

t.test('a wrapped key of another message, or an altered one, is refused and gives nothing', async (t) => {
  const house = await openHouse(t)
  const { id, wrappedKey } = await house.issue()
  const other = await house.issue()
  const bea = await house.proven(id, 'bea@example.org')
  t.match(await refusal(bea.releaseKey(id, other.wrappedKey)), { code: 'bad-request', detail: /altered/ })
  const altered = Uint8Array.from(wrappedKey)
  altered[30] = (altered[30] ?? 0) ^ 1
  t.match(await refusal(bea.releaseKey(id, altered)), { code: 'bad-request' })
  t.match(
    await refusal(bea.releaseKey(id, wrappedKey.subarray(1))),
    { code: 'bad-request' },
    'too short for the schema',
  )
  t.ok(await bea.releaseKey(id, wrappedKey))
})

t.test('a session ends after its hours', async (t) => {
  const house = await openHouse(t, { sessionHours: 12 })
  const { id, wrappedKey } = await house.issue({ ttlSeconds: (5 * DAY) / 1000 })
  const bea = await house.proven(id, 'bea@example.org')
  house.advance(12 * 3_600_000 - 60_000)
  t.ok(await bea.releaseKey(id, wrappedKey))
  house.advance(61_000)
  t.match(await refusal(bea.releaseKey(id, wrappedKey)), { code: 'no-session' })
})

t.test('a session serves no other browser: a stolen token is worth nothing', async (t) => {
  const house = await openHouse(t)
  const { id } = await house.issue()
  const bea = await house.recipient()
  await bea.askCode(id, 'bea@example.org')
  const { token } = await bea.answer(await house.code(0))
  const other = createApi({ origin: house.origin, key: await createProofKey(), fetch: wholly(house) })
  t.match(await other.ticket(token, id), { kind: 'problem', problem: { code: 'no-session', status: 401 } })
  t.match(await other.ticket('A'.repeat(43), id), { kind: 'problem', problem: { code: 'no-session' } })
  t.ok(await bea.ticket(id))
})

t.test('a clock set back opens nothing, but still lets the sender revoke', async (t) => {
  const house = await openHouse(t)
  const { id, wrappedKey } = await house.issue()
  const bea = await house.proven(id, 'bea@example.org')
  const anna = await house.proven(id, 'anna@acme.example')
  house.advance(-DAY)
  t.match(await refusal(bea.releaseKey(id, wrappedKey)), { code: 'unavailable', status: 503 })
  t.match(await refusal(bea.ticket(id)), { code: 'unavailable' })
  t.match(await refusal(bea.askCode(id, 'bea@example.org')), { code: 'unavailable' })
  t.ok(await anna.revoke(id))
  house.advance(DAY)
  t.match(await refusal(bea.releaseKey(id, wrappedKey)), { code: 'revoked' })
})

t.test('what changes between judging and recording counts: state and budget are read again', async (t) => {
  let meanwhile: ((tx: Tx) => Promise<unknown>) | null = null
  const house = await openHouse(t, { opensPerPersonPerHour: 5 }, (store) => ({
    ...store,
    transact: async (work) => {
      const act = meanwhile
      meanwhile = null
      if (act !== null) await store.transact(act)
      return store.transact(work)
    },
  }))
  const { clock, keyring, config } = house.parts
  const [revoked, spent] = [await house.issue(), await house.issue()]
  const bea = await house.proven(revoked.id, 'bea@example.org')
  meanwhile = (tx) => tx.envelopes.revoke(revoked.id, clock.now())
  t.match(await refusal(bea.releaseKey(revoked.id, revoked.wrappedKey)), { code: 'revoked' })
  const limits = createLimits(config.limits, keyring)
  const who = { org, address: address('bea@example.org') }
  meanwhile = async (tx) => {
    for (let i = 0; i < 5; i++) await limits.open(tx.counters, who, clock.now())
  }
  t.match(await refusal(bea.releaseKey(spent.id, spent.wrappedKey)), { code: 'too-many' })
  t.equal((await house.records()).filter(({ kind }) => kind === 'released').length, 0)
})

t.test('where the log cannot be written, no key leaves: 503 with Retry-After, and never a hang', async (t) => {
  const disk = { state: 'good' as 'good' | 'full' | 'stuck' }
  const house = await openHouse(t, {}, (store) => ({
    ...store,
    transact: (work) => {
      if (disk.state === 'full') return Promise.reject(new KeyServerError('unavailable'))
      return disk.state === 'stuck' ? new Promise(() => {}) : store.transact(work)
    },
  }))
  const { id, wrappedKey } = await house.issue()
  const bea = await house.proven(id, 'bea@example.org')
  disk.state = 'full'
  t.match(await refusal(bea.releaseKey(id, wrappedKey)), { code: 'unavailable', status: 503 })
  disk.state = 'stuck'
  const start = performance.now()
  t.match(await refusal(bea.releaseKey(id, wrappedKey)), { code: 'unavailable', status: 503 })
  t.ok(performance.now() - start < 8_000)
  disk.state = 'good'
  t.ok(await bea.releaseKey(id, wrappedKey), 'nothing was used up')
})
