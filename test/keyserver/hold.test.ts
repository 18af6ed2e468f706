import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openLogDatabase } from '../../audit/sqlite.ts'
import { verifyLog } from '../../audit/verify.ts'
import { openSecret } from '../../keyserver/keyring.ts'
import type { IssueResult } from '../../protocol/gateway-api.ts'
import type { HeldMail, HoldFate, HoldResult } from '../../protocol/hold-api.ts'
import type { EnvelopeId } from '../../protocol/identifiers.ts'
import {
  acme,
  type Caller,
  known,
  onlyEnvelope,
  openPremises,
  type Premises,
  random32,
  sealed,
  sealing,
} from './premises.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const bob = 'bob@example.org'
const cleo = 'cleo@example.net'

/** A request that holds for two days, and gives seven days once it is let go. */
function holding(premises: Premises, recipients: readonly string[], keys: readonly (string | null)[] = []) {
  const request = sealing(premises, recipients, keys)
  return {
    ...request,
    verdict: 'hold' as const,
    terms: { ttlSeconds: 7 * 86_400, proof: 'code' as const },
    holdSeconds: 172_800,
  }
}

async function open(t: { testdir(): string; teardown(act: () => Promise<void>): unknown }) {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  return { premises, gw1: premises.client('gw1'), gw2: premises.client('gw2'), officer: premises.client('officer1') }
}

async function held(caller: Caller, id: string, recipients: readonly string[], digest: string = random32()) {
  const { body } = await caller.post('/v1/hold', { ...sealed(id, recipients, digest), instance: caller.instance })
  return body as HoldResult
}

async function fate(caller: Caller, id: string, digest: string): Promise<HoldFate> {
  return (await caller.post('/v1/hold/fate', { org: acme, id, digest })).body as HoldFate
}

const states = (result: IssueResult) =>
  result.kind === 'issued' ? result.envelopes.flatMap(({ recipients }) => recipients.map(({ state }) => state)) : []
const find = async ({ server }: Premises, id: EnvelopeId) =>
  known(await server.parts.store.read((reads) => reads.envelopes.find(id)))
const decide = (officer: Caller, act: 'release' | 'return', id: string, reason = 'looked at it') =>
  officer.post(`/v1/held/${act}`, { org: acme, id, reason })

/** Issued, kept and confirmed as held by gw1. */
async function heldMail(
  { premises, gw1 }: { premises: Premises; gw1: Caller },
  keys: readonly string[] = [random32()],
) {
  const request = holding(premises, [bob], keys)
  const { id } = onlyEnvelope(await gw1.issue(request))
  const digest = random32()
  const { kind } = await held(gw1, id, [bob], digest)
  if (kind !== 'held') throw new Error('it could not be held')
  return { id, digest, request }
}

t.test('what is held says so to every retry, and is no second envelope, whatever the rules say by then', async (t) => {
  const { premises, gw1, gw2 } = await open(t)
  const request = holding(premises, [bob])
  const first = onlyEnvelope(await gw1.issue(request))
  t.ok(first.key, 'it comes with a key')
  t.equal(onlyEnvelope(await gw2.issue(request)).id, first.id, 'not held yet: the same once more')
  const digest = random32()
  t.match(await held(gw1, first.id, [bob], digest), { kind: 'held' })
  t.match(await held(gw1, first.id, [bob], digest), { kind: 'held' }, 'said twice is once')
  t.match(await held(gw2, first.id, [bob]), { kind: 'refused', code: 'conflict' }, 'there is one copy that counts')
  t.match(await held(gw1, first.id, [bob]), { kind: 'refused', code: 'conflict' })
  for (const verdict of [
    request,
    { ...request, verdict: 'seal' as const, holdSeconds: undefined },
    { ...request, verdict: 'pass' as const, holdSeconds: undefined, terms: undefined },
  ]) {
    const again = onlyEnvelope(await gw2.issue(verdict as typeof request))
    t.match(again, { id: first.id, key: null, recipients: [{ state: 'held' }] })
  }
})

t.test('who was not kept with the others gets an envelope of their own', async (t) => {
  const { premises, gw1 } = await open(t)
  const keys = [random32(), random32()]
  const { id } = onlyEnvelope(await gw1.issue(holding(premises, [bob, cleo], keys)))
  t.match(await held(gw1, id, [bob]), { kind: 'held' })
  const rest = onlyEnvelope(await gw1.issue(holding(premises, [cleo], keys.slice(1))))
  t.not(rest.id, id)
  t.strictSame(rest.recipients, [{ address: cleo, state: 'open' }])
})

t.test('a hold needs its terms and its time, and only a hold has one', async (t) => {
  const { premises, gw1 } = await open(t)
  const good = holding(premises, [bob])
  for (const bad of [
    { ...good, holdSeconds: undefined },
    { ...good, terms: undefined },
    { ...sealing(premises, [bob]), holdSeconds: 3600 },
  ]) {
    t.match(await gw1.issue(bad as typeof good), { kind: 'refused', code: 'bad-request' })
  }
  const { id } = onlyEnvelope(await gw1.issue(sealing(premises, [bob])))
  t.match(await held(gw1, id, [bob]), { kind: 'refused', code: 'bad-request' }, 'what is to be sealed is not held')
  const other = onlyEnvelope(await gw1.issue(good))
  t.match(await held(gw1, other.id, [cleo]), { kind: 'refused', code: 'not-found' })
  const [delivery] = await gw1.bulk('/v1/confirm', [sealed(other.id, [bob])])
  t.match(delivery, { kind: 'refused', code: 'conflict' }, 'nor delivered before it is let go')
})

t.test(
  'let go: the time to live begins, the gateway is told, and the secret lies with those of its last day',
  async (t) => {
    const { premises, gw1, gw2, officer } = await open(t)
    const { id, digest, request } = await heldMail({ premises, gw1 })
    const before = await find(premises, id)
    t.same(await fate(gw1, id, digest), { kind: 'held' })
    premises.pass(DAY)
    const at = Date.now() + DAY
    const { status, body } = await decide(officer, 'release', id)
    t.equal(status, 200)
    const expires = Date.parse((body as { readonly expiresAt: string }).expiresAt)
    t.ok(Math.abs(expires - at - 7 * DAY) < 60_000, 'seven days from now, not from when it was sent')
    const after = await find(premises, id)
    t.match(after, { kind: 'seal', expiresAt: expires })
    t.equal(known(after.bucket).slice(0, 10), new Date(expires).toISOString().slice(0, 10))
    const { keyring } = premises.server.parts
    const secretOf = async ({ bucket, sealedSecret }: typeof after) => {
      const { key } = known(await keyring.bucket(acme, known(bucket)))
      return openSecret(key, known(sealedSecret), { org: acme, envelope: id, bucket: known(bucket) })
    }
    t.same(await secretOf(after), await secretOf(before), 'it is the same secret')
    t.match((await gw1.get('/v1/changes')).body, { changes: [{ id, kind: 'let-go' }] })
    t.match(await fate(gw1, id, digest), { kind: 'let-go', link: `http://127.0.0.1:8443/m/${id}` })
    t.same(await fate(gw2, id, digest), { kind: 'gone' }, 'it is another gateway that keeps it')
    t.strictSame(states(await gw2.issue(request)), ['held'], 'a retry does not come before the gateway that keeps it')
    t.match(await decide(officer, 'return', id), { status: 409, body: { detail: /was let go by officer1/ } })
    const [confirmed] = await gw1.bulk('/v1/confirm', [sealed(id, [bob], digest)])
    t.match(confirmed, { kind: 'confirmed' })
    await gw1.bulk('/v1/outcome', [{ org: acme, id, recipient: bob, outcome: 'deferred', reply: '451 later' }])
    t.strictSame(states(await gw1.issue(request)), ['held'], 'it waits in the spool now')
    await gw1.bulk('/v1/outcome', [{ org: acme, id, recipient: bob, outcome: 'sent', reply: '250 ok' }])
    t.strictSame(states(await gw1.issue(request)), ['sent'])
  },
)

t.test('sent back: nobody will open it, the gateway is told why, and the key is destroyed', async (t) => {
  const { premises, gw1, officer } = await open(t)
  const { id, digest, request } = await heldMail({ premises, gw1 })
  t.match(await decide(officer, 'return', id, 'wrong price list'), { status: 200, body: { id } })
  t.same(await fate(gw1, id, digest), { kind: 'returned', reason: 'wrong price list' })
  t.match(await decide(officer, 'release', id), { status: 409, body: { detail: /was sent back by officer1/ } })
  t.strictSame(states(await gw1.issue(request)), ['failed'])
  await premises.server.shred()
  t.equal((await find(premises, id)).sealedSecret, null)
  t.same(await fate(gw1, id, digest), { kind: 'returned', reason: 'wrong price list' }, 'and it can still be asked')
  t.match((await gw1.get('/v1/changes')).body, { changes: [{ kind: 'returned' }, { kind: 'shredded' }] })
})

t.test('when nobody decides in time it goes back by itself', async (t) => {
  const { premises, gw1, officer } = await open(t)
  const { id, digest } = await heldMail({ premises, gw1 })
  premises.pass(2 * DAY - 60_000)
  await premises.server.shred()
  t.same(await fate(gw1, id, digest), { kind: 'held' }, 'not a minute early')
  premises.pass(61_000)
  t.match(await decide(officer, 'release', id), { status: 410, body: { code: 'expired' } }, 'then it is too late')
  await accept(premises, officer)
  await premises.server.shred()
  t.same(await fate(gw1, id, digest), { kind: 'returned', reason: null })
  t.equal((await find(premises, id)).sealedSecret, null)
})

/** A test lets days pass at once; the clock wants an officer to say that this is right. */
async function accept(premises: Premises, officer: Caller): Promise<void> {
  if (premises.server.parts.clock.state().kind !== 'good') await officer.post('/v1/clock', { reason: 'a test' })
}

t.test('a hold that is revoked, never confirmed or unknown has its fate too', async (t) => {
  const { premises, gw1, officer } = await open(t)
  const revoked = await heldMail({ premises, gw1 })
  t.equal((await officer.post('/v1/revoke', { org: acme, id: revoked.id, reason: 'asked for' })).status, 200)
  t.same(await fate(gw1, revoked.id, revoked.digest), { kind: 'gone' })
  t.match(await decide(officer, 'release', revoked.id), { status: 410, body: { code: 'revoked' } })
  const { id } = onlyEnvelope(await gw1.issue(holding(premises, [bob])))
  t.same(await fate(gw1, id, random32()), { kind: 'waiting' })
  premises.pass(11 * 60_000)
  t.same(await fate(gw1, id, random32()), { kind: 'gone' })
  const lost = `${'b'.repeat(21)}A`
  t.same(await fate(gw1, lost, random32()), { kind: 'expired' }, 'a database from before it: it can never be opened')
})

t.test(
  'officers see who waits, not what; each look and each decision is in the log, and the log verifies',
  async (t) => {
    const { premises, gw1, officer } = await open(t)
    const first = await heldMail({ premises, gw1 })
    const second = await heldMail({ premises, gw1 })
    const list = await officer.post('/v1/held/list', { org: acme })
    t.match(list.body, {
      held: [
        { id: first.id, sender: 'anna@acme.example', recipients: [bob], size: 1000, state: 'held' },
        { id: second.id },
      ],
      more: false,
    })
    await decide(officer, 'release', first.id)
    await decide(officer, 'release', first.id)
    await decide(officer, 'return', second.id, 'not now')
    const after = await officer.post('/v1/held/list', { org: acme })
    t.same(after.body, { held: [], more: false })
    const shown = (await officer.post('/v1/held/show', { org: acme, id: second.id })).body as HeldMail
    t.match(shown, { state: 'returned', decided: { officer: 'officer1', reason: 'not now' } })
    for (const path of ['list', 'show', 'release', 'return']) {
      const body = { org: 'other.example', ...(path === 'list' ? {} : { id: first.id }) }
      const more = path === 'release' || path === 'return' ? { reason: 'x' } : {}
      t.equal((await officer.post(`/v1/held/${path}`, { ...body, ...more })).status, 403, path)
      t.equal((await gw1.post(`/v1/held/${path}`, { ...body, ...more, org: acme })).status, 403, `${path} by a gateway`)
    }
    await premises.server.parts.store.checkpoint((origin) => premises.server.parts.keyring.signer.forLog(origin))
    const logs = openLogDatabase(premises.config.database)
    t.teardown(async () => logs.close())
    const own = known(logs.logs.find(({ log }) => log === acme))
    t.strictSame(verifyLog(own, { keys: null, against: [] }).faults, [])
    const kinds = [...own.leaves()].map(
      ({ record }) => (JSON.parse(Buffer.from(record).toString()) as { kind: string }).kind,
    )
    const act = (one: string) => kinds.filter((kind) => kind === one).length
    t.equal(act('held'), 2)
    t.equal(act('let-go'), 1)
    t.equal(act('returned'), 1)
    t.equal(act('hold-refused'), 1)
    t.equal(act('act'), 3, 'two lists and a show')
  },
)

t.test('no file of the database keeps the secret as it lay while it was held', async (t) => {
  const { premises, gw1, officer } = await open(t)
  const { id } = await heldMail({ premises, gw1 })
  const before = Buffer.from(known((await find(premises, id)).sealedSecret))
  await decide(officer, 'release', id)
  await premises.server.parts.store.scrub()
  const files = readdirSync(premises.folder).filter((name) => name.startsWith('keyserver.sqlite'))
  t.strictSame(
    files.filter((name) => readFileSync(join(premises.folder, name)).includes(before)),
    [],
  )
})
