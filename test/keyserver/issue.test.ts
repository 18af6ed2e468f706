import t from 'tap'
import { termsHash } from '../../keyserver/issue.ts'
import { unwrapDataKey } from '../../keyserver/keyring.ts'
import type {
  ConfirmResult,
  HandledResult,
  IssueRequest,
  IssueResult,
  OutcomeResult,
} from '../../protocol/gateway-api.ts'
import { acme, known, onlyEnvelope, openPremises, other, type Premises, random32, sealed, sealing } from './premises.ts'

const premises: Premises = await openPremises(t.testdir())
t.teardown(() => premises.close())
const gw1 = premises.client('gw1')
const states = (result: IssueResult) =>
  result.kind === 'issued' ? result.envelopes.flatMap(({ recipients }) => recipients.map(({ state }) => state)) : []
const confirm = async (caller: typeof gw1, request: unknown) =>
  known((await caller.bulk<ConfirmResult>('/v1/confirm', [request]))[0])
const outcome = async (caller: typeof gw1, id: string, recipient: string, what: string) =>
  known(
    (
      await caller.bulk<OutcomeResult>('/v1/outcome', [{ org: acme, id, recipient, outcome: what, reply: '250 ok' }])
    )[0],
  )

t.test('an envelope comes with a data key wrapped under a secret that stays here', async (t) => {
  const request = sealing(premises, ['bob@example.org'])
  const { id, key, recipients } = onlyEnvelope(await gw1.issue(request))
  const { dataKey, wrappedKey, termsHash: hash, link } = known(key)
  t.equal(link, `http://127.0.0.1:8443/m/${id}`)
  t.equal(hash, termsHash(request.policyHash, known(request.terms)))
  t.strictSame(recipients, [{ address: 'bob@example.org', state: 'open' }])
  const { store, keyring } = premises.server.parts
  const envelope = known(await store.read((reads) => reads.envelopes.find(id)))
  const bucket = known(await keyring.bucket(acme, known(envelope.bucket)))
  const { openSecret } = await import('../../keyserver/sealing.ts')
  const context = { org: acme, envelope: id, bucket: bucket.id }
  const secret = known(openSecret(bucket.key, known(envelope.sealedSecret), context))
  const opened = unwrapDataKey(secret, Buffer.from(wrappedKey, 'base64url'), {
    org: acme,
    envelope: id,
    termsHash: hash,
  })
  t.equal(Buffer.from(known(opened)).toString('base64url'), dataKey)
})

t.test('one call decides each item alone, in the order of the request', async (t) => {
  const good = sealing(premises, ['bob@example.org'])
  const results = await gw1.bulk<IssueResult>('/v1/issue', [
    good,
    { ...good, policyHash: 'f'.repeat(64) },
    { ...good, terms: { ttlSeconds: 31 * 86_400, proof: 'code' } },
    { ...good, verdict: 'pass', terms: undefined },
    {
      ...good,
      verdict: 'refuse',
      terms: undefined,
      recipients: good.recipients.map((one) => ({ ...one, retryKey: null })),
    },
  ])
  t.strictSame(
    results.map((one) => (one.kind === 'refused' ? one.code : one.kind)),
    ['issued', 'policy-not-active', 'bad-request', 'issued', 'issued'],
  )
  t.equal(onlyEnvelope(known(results[3])).key, null)
})

t.test('a gateway acts only for its own organizations', async (t) => {
  const foreign = premises.client('foreign')
  const result = await foreign.issue(sealing(premises, ['bob@example.org']))
  t.match(result, { kind: 'refused', code: 'not-authorised' })
  const { id } = onlyEnvelope(await gw1.issue(sealing(premises, ['bob@example.org'])))
  t.match(await confirm(foreign, sealed(id, ['bob@example.org'])), { kind: 'refused', code: 'not-authorised' })
  t.match(await outcome(foreign, id, 'bob@example.org', 'sent'), { kind: 'refused', code: 'not-authorised' })
  t.match(await foreign.get(`/v1/policies/${acme}`), { status: 403, body: { code: 'not-authorised' } })
  t.match(await foreign.get(`/v1/policies/${other}`), { status: 200 })
})

t.test('a gateway names no sender outside its organization, whom readers would be told is verified', async (t) => {
  const request = sealing(premises, ['bob@example.org'])
  for (const sender of ['boss@other.example', 'anna@sub.acme.example', 'anna@acme.example.other.example']) {
    const result = await gw1.issue({ ...request, sender: sender as IssueRequest['sender'] })
    t.match(result, { kind: 'refused', code: 'bad-request', detail: /domains/ }, sender)
  }
  t.match(await gw1.issue({ ...request, sender: 'Boss@ACME.example' as IssueRequest['sender'] }), { kind: 'issued' })
})

t.test('without a certificate of the authority nobody gets in, and an unknown name gets nothing', async (t) => {
  await t.rejects(premises.client(null).get('/v1/keys'))
  await t.rejects(premises.client('stray').get('/v1/keys'))
  t.match(await premises.client('unlisted').get('/v1/keys'), { status: 403, body: { code: 'not-authorised' } })
  t.match(await premises.client('officer1').get('/v1/keys'), { status: 403 })
  t.match(await gw1.post('/v1/clock', { reason: 'x' }), { status: 403 })
})

t.test('a request that does not fit is told where, and what was expected, but not what it said', async (t) => {
  const good = sealing(premises, ['bob@example.org'])
  const answer = await gw1.post('/v1/issue', {
    instance: gw1.instance,
    requests: [{ ...good, rule: 7, secretWord: 'hush' }],
  })
  t.equal(answer.status, 400)
  t.match(answer.headers['content-type'], /application\/problem\+json/)
  t.match(answer.body, { code: 'bad-request', faults: [{ at: '/requests/0' }] })
  t.notMatch(JSON.stringify(answer.body), /hush/)
  t.match(await gw1.post('/v1/issue', { instance: gw1.instance, requests: [] }), { status: 400 })
  t.match(await gw1.post('/v1/nothing', {}), { status: 404, body: { code: 'not-found' } })
})

t.test('the same message again gets the same envelope, and nobody a second mail', async (t) => {
  const keys = [random32(), random32()]
  const request = sealing(premises, ['bob@example.org', 'carl@example.org'], keys)
  const first = onlyEnvelope(await gw1.issue(request))
  const digest = random32()
  t.match(await confirm(gw1, sealed(first.id, ['bob@example.org'], digest)), { kind: 'confirmed' })
  t.match(
    await confirm(gw1, sealed(first.id, ['bob@example.org'], digest)),
    { kind: 'confirmed' },
    'said twice is once',
  )
  t.match(
    await confirm(gw1, sealed(first.id, ['bob@example.org'])),
    { code: 'conflict' },
    'another sealing is another attempt',
  )
  t.strictSame(states(await premises.client('gw2').issue(request)), ['busy', 'open'])
  t.match(await outcome(gw1, first.id, 'bob@example.org', 'sent'), { kind: 'recorded' })
  const second = onlyEnvelope(await premises.client('gw2').issue(request))
  t.equal(second.id, first.id)
  t.strictSame(
    second.recipients.map(({ state }) => state),
    ['sent', 'open'],
  )
  t.not(known(second.key).dataKey, known(first.key).dataKey, 'the data key is kept nowhere, so it is another')
  t.match(await outcome(gw1, first.id, 'bob@example.org', 'deferred'), { kind: 'recorded' })
  t.strictSame(states(await gw1.issue(request)), ['sent', 'open'], 'sent stays sent')
})

t.test('leases: another gateway waits, a restarted one does not, and time ends them', async (t) => {
  const request = sealing(premises, ['dora@example.org'])
  const { id } = onlyEnvelope(await gw1.issue(request))
  await confirm(gw1, sealed(id, ['dora@example.org']))
  t.strictSame(states(await premises.client('gw2').issue(request)), ['busy'])
  t.strictSame(states(await gw1.issue(request)), ['busy'], 'the same instance is still at it')
  t.strictSame(states(await premises.client('gw1').issue(request)), ['unknown'], 'a new instance of the same gateway')
  premises.pass(61_000)
  t.strictSame(states(await premises.client('gw2').issue(request)), ['unknown'])
  t.match(await outcome(gw1, id, 'dora@example.org', 'deferred'), { kind: 'recorded' })
  t.strictSame(states(await premises.client('gw2').issue(request)), ['open'])
  t.match(await outcome(gw1, id, 'dora@example.org', 'failed'), { kind: 'recorded' })
  const last = onlyEnvelope(await gw1.issue(request))
  t.strictSame(
    last.recipients.map(({ state }) => state),
    ['failed'],
  )
  t.equal(last.key, null, 'nothing is left to send, so there is no key')
})

t.test('an envelope that nobody confirms within ten minutes is dead', async (t) => {
  const request = sealing(premises, ['emil@example.org'])
  const { id } = onlyEnvelope(await gw1.issue(request))
  premises.pass(10 * 60_000 + 1)
  t.match(await confirm(gw1, sealed(id, ['emil@example.org'])), { kind: 'refused', code: 'never-confirmed' })
  t.not(onlyEnvelope(await gw1.issue(request)).id, id, 'the next try gets another')
})

t.test(
  'what has had its end is done with, also when the envelope is over: nobody hears that it did not arrive',
  async (t) => {
    const to = ['sent@example.org', 'refused@example.org', 'left@example.org']
    const { id } = onlyEnvelope(await gw1.issue(sealing(premises, to)))
    await confirm(gw1, sealed(id, to))
    await outcome(gw1, id, 'sent@example.org', 'sent')
    await outcome(gw1, id, 'refused@example.org', 'failed')
    premises.pass(3600_000 + 1)
    const again = premises.client('gw1')
    const codes = to.map(async (one) => confirm(again, sealed(id, [one])))
    t.match(await Promise.all(codes), [{ code: 'already-sent' }, { code: 'already-sent' }, { code: 'expired' }])
  },
)

t.test('a sealed copy that comes back is known by its digest', async (t) => {
  const { id } = onlyEnvelope(await gw1.issue(sealing(premises, ['fritz@example.org'])))
  const digest = random32()
  const ask = async (asked: string) =>
    (await gw1.post('/v1/handled', { org: acme, id, digest: asked })).body as HandledResult
  t.strictSame(await ask(digest), { handled: false, notice: null, reached: [] })
  await confirm(gw1, sealed(id, ['fritz@example.org'], digest))
  t.match(await ask(digest), { handled: true, notice: { link: `http://127.0.0.1:8443/m/${id}` } })
  t.strictSame(await ask(random32()), { handled: false, notice: null, reached: [] })
})

t.test('who asks of an envelope that came back learns who has it, with its digest or without', async (t) => {
  const to = ['sent@example.org', 'unknown@example.org', 'put-off@example.org', 'open@example.org']
  const { id } = onlyEnvelope(await gw1.issue(sealing(premises, to)))
  const recipients = [...to, 'nobody@example.org', 'no address']
  const ask = async (org: string, more: { readonly digest?: string } = {}) =>
    (await gw1.post('/v1/handled', { org, id, recipients, ...more })).body as HandledResult
  t.strictSame(await ask(acme), { handled: false, notice: null, reached: [] })
  const digest = random32()
  await confirm(gw1, sealed(id, to.slice(0, 3), digest))
  await outcome(gw1, id, 'sent@example.org', 'sent')
  await outcome(gw1, id, 'put-off@example.org', 'deferred')
  const reached = ['sent@example.org', 'unknown@example.org']
  t.strictSame(await ask(acme), { handled: false, notice: null, reached })
  t.match(await ask(acme, { digest }), { handled: true, notice: {}, reached })
  t.strictSame(await ask(acme, { digest: random32() }), { handled: false, notice: null, reached })
  const ofOthers = { org: other, id, recipients }
  t.strictSame((await gw1.post('/v1/handled', ofOthers)).body, { handled: false, notice: null, reached: [] })
  const foreign = await premises.client('foreign').post('/v1/handled', { org: acme, id, recipients })
  t.match(foreign, { status: 403 }, 'a gateway that may not act for it learns nothing')
})

t.test('an officer revokes; the gateways that hold copies are told, and no retry brings it back', async (t) => {
  const request = sealing(premises, ['gerda@example.org'])
  const { id } = onlyEnvelope(await gw1.issue(request))
  await confirm(gw1, sealed(id, ['gerda@example.org']))
  await outcome(gw1, id, 'gerda@example.org', 'deferred')
  const officer = premises.client('officer1')
  const answer = await officer.post('/v1/revoke', { org: acme, id, reason: 'sent to the wrong person' })
  t.match(answer, { status: 200, body: { id } })
  t.strictSame((await officer.post('/v1/revoke', { org: acme, id, reason: 'again' })).body, answer.body)
  t.match(await officer.post('/v1/revoke', { org: other, id, reason: 'x' }), { status: 403 })
  t.match(await officer.post('/v1/revoke', { org: acme, id: 'AAAAAAAAAAAAAAAAAAAAAA', reason: 'x' }), { status: 404 })
  t.match(await gw1.issue(request), { kind: 'refused', code: 'revoked' })
  t.match(await confirm(gw1, sealed(id, ['gerda@example.org'])), { code: 'revoked' })
  const { body } = await gw1.get('/v1/changes?after=0')
  t.match(body, { changes: [{ id, kind: 'revoked' }] })
  t.match(await premises.client('gw2').get('/v1/changes'), { body: { changes: [], next: 0 } })
  t.match(await gw1.get('/v1/changes?after=x'), { status: 400 })
})

t.test('the policy in force comes with its hash as ETag', async (t) => {
  const first = await gw1.get(`/v1/policies/${acme}`)
  const { hash } = first.body as { hash: string }
  t.equal(first.headers.etag, `"${hash}"`)
  t.equal((await gw1.get(`/v1/policies/${acme}`, { 'if-none-match': `"${hash}"` })).status, 304)
})

t.test('the log has a record of every decision', async (t) => {
  const { parts } = premises.server
  await parts.store.checkpoint((origin) => parts.keyring.signer.forLog(origin))
  const { default: Database } = await import('better-sqlite3')
  const database = new Database(premises.config.database, { readonly: true })
  const kinds = database
    .prepare<[], { record: Buffer }>("select record from log_leaf where log = 'acme.example' order by idx")
    .all()
    .map(({ record }) => String((JSON.parse(record.toString('utf8')) as { kind: string }).kind))
  database.close()
  for (const kind of [
    'policy-activated',
    'issued',
    'passed',
    'refused-mail',
    'issue-refused',
    'confirmed',
    'confirm-refused',
    'outcome',
    'revoked',
  ]) {
    t.ok(kinds.includes(kind), kind)
  }
})
