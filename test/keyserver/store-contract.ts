import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import type { NewEnvelope, Store } from '../../keyserver/store.ts'
import type { EnvelopeId } from '../../protocol/identifiers.ts'
import { parseAddress } from '../../protocol/identifiers.ts'
import { acme, known, other, random32 } from './premises.ts'

export type StoreFactory = (t: Test) => Promise<Store>

export const bob = known(parseAddress('bob@example.org'))
const carl = known(parseAddress('carl@example.org'))

export function newEnvelope(changes: Partial<NewEnvelope> = {}): NewEnvelope {
  return {
    id: randomBytes(16).toString('base64url') as EnvelopeId,
    org: acme,
    kind: 'seal',
    sender: parseAddress('anna@acme.example'),
    rule: 'default',
    policyHash: 'a'.repeat(64),
    terms: { ttlSeconds: 60, proof: 'code' },
    termsHash: random32(),
    expiresAt: 100_000,
    bucket: '2026-01-01.1',
    sealedSecret: randomBytes(60),
    gateway: 'gw1',
    issuedAt: 1_000,
    confirmBy: 2_000,
    messageDigest: null,
    recipients: [{ address: bob, retryKey: random32() }],
    ...changes,
  }
}

/** What every store must do, whatever database it is on. */
export function storeContract(t: Test, open: StoreFactory): void {
  t.test('what is put in comes out', async (t) => {
    const store = await open(t)
    const envelope = newEnvelope()
    const { recipients, messageDigest: _, ...rest } = envelope
    await store.transact((tx) => tx.envelopes.add(envelope))
    await store.read(async (reads) => {
      const found = known(await reads.envelopes.find(envelope.id))
      const dates = { confirmedAt: null, revokedAt: null, shreddedAt: null }
      t.strictSame(
        { ...found, sealedSecret: hex(found.sealedSecret) },
        { ...rest, ...dates, sealedSecret: hex(rest.sealedSecret) },
      )
      t.strictSame(await reads.envelopes.recipients(envelope.id), [
        { envelope: envelope.id, org: acme, address: bob, state: 'open', doubt: false, lease: null },
      ])
      t.equal(await reads.envelopes.recipient(envelope.id, carl), null)
      t.equal(await reads.envelopes.find('AAAAAAAAAAAAAAAAAAAAAA' as EnvelopeId), null)
    })
    const key = known(recipients[0]?.retryKey)
    await store.transact(async (tx) => {
      t.equal((await tx.envelopes.retried(acme, key, 999))?.address, bob)
      t.equal(await tx.envelopes.retried(other, key, 999), null, 'another organization has other keys')
      t.equal(await tx.envelopes.retried(acme, key, 1_000), null, 'too old')
      await tx.envelopes.forgetRetries(1_001)
      t.equal(await tx.envelopes.retried(acme, key, 0), null)
    })
  })

  t.test('what is held waits, oldest first, until it is decided; let go, it is sealed like any other', async (t) => {
    const store = await open(t)
    const held = (at: number, more: Partial<NewEnvelope> = {}) => newEnvelope({ kind: 'hold', issuedAt: at, ...more })
    const keys = [random32(), random32()]
    const both = [bob, carl].map((address, i) => ({ address, retryKey: known(keys[i]) }))
    const [first, second, revoked, foreign] = [
      held(10, { recipients: both }),
      held(20),
      held(30),
      held(40, { org: other }),
    ]
    await store.transact(async (tx) => {
      for (const one of [second, first, revoked, foreign]) {
        await tx.envelopes.add(one)
        await tx.envelopes.confirm(one.id, one.issuedAt)
        await tx.holds.add(one.id, one.issuedAt, 50_000, [bob])
      }
      await tx.envelopes.revoke(revoked.id, 35)
    })
    const waiting = (now: number, skip = 0, limit = 9) =>
      store.read(async (reads) => (await reads.holds.waiting(acme, now, skip, limit)).map(({ envelope }) => envelope))
    t.strictSame(await waiting(100), [first.id, second.id])
    t.strictSame([await waiting(100, 0, 1), await waiting(100, 1)], [[first.id], [second.id]])
    t.strictSame(await waiting(50_000), [], 'none whose time is over')
    await store.transact(async (tx) => {
      t.equal((await tx.envelopes.retried(acme, known(keys[0]), 0))?.envelope, first.id)
      t.equal(await tx.envelopes.retried(acme, known(keys[1]), 0), null, 'who is not kept is not known by a retry')
      await tx.holds.decide(first.id, 'let-go', { at: 200, officer: 'officer1', reason: 'fine' })
      await tx.holds.decide(first.id, 'returned', { at: 300, officer: 'officer2', reason: 'not fine' })
      await tx.holds.letGo(first.id, 90_000, '2026-02-02.1', new Uint8Array(60).fill(7))
    })
    await store.read(async (reads) => {
      t.strictSame(await reads.holds.find(first.id), {
        ...{ envelope: first.id, state: 'let-go', at: 10, until: 50_000 },
        decided: { at: 200, officer: 'officer1', reason: 'fine' },
      })
      const sealed = await reads.envelopes.find(first.id)
      t.match(sealed, { kind: 'seal', expiresAt: 90_000, bucket: '2026-02-02.1' })
      t.equal(hex(sealed?.sealedSecret ?? null), '07'.repeat(60))
      t.equal(await reads.holds.find(newEnvelope().id), null)
    })
    await store.transact(async (tx) => {
      t.strictSame((await tx.envelopes.doomed(89_999, 9)).map(({ id }) => id).includes(first.id), false)
      t.ok(
        (await tx.envelopes.doomed(90_000, 9)).some(({ id }) => id === first.id),
        'its end is the new one',
      )
    })
  })

  t.test('works that fail undo only themselves, and their log entries with them', async (t) => {
    const store = await open(t)
    const [first, second, third] = [newEnvelope(), newEnvelope(), newEnvelope()]
    const results = await Promise.allSettled([
      store.transact(async (tx) => {
        await tx.envelopes.add(first)
        tx.audit.append('server', { record: start('1') })
      }),
      store.transact(async (tx) => {
        await tx.envelopes.add(second)
        tx.audit.append('server', { record: start('2') })
        throw new Error('second thoughts')
      }),
      store.transact(async (tx) => {
        await tx.envelopes.add(third)
        tx.audit.append('server', { record: start('3') })
      }),
    ])
    t.strictSame(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
    await store.read(async (reads) => {
      t.ok(await reads.envelopes.find(first.id))
      t.equal(await reads.envelopes.find(second.id), null)
      t.ok(await reads.envelopes.find(third.id))
    })
    await t.rejects(
      store.transact(async (tx) => tx.audit.append('server', { record: { ...start('4'), instance: 'no id' } })),
      'a record that does not fit its kind fails its work',
    )
    await store.transact(async (tx) => tx.audit.append('server', { record: start('5') }))
    const alone = store.transact(async (tx) => {
      await tx.envelopes.add(second)
      tx.audit.append('server', { record: start('6') })
      throw new Error('second thoughts')
    })
    await t.rejects(alone, { message: 'second thoughts' }, 'one that shares with no other, too')
    await store.transact((tx) => tx.envelopes.add(second))
  })

  t.test('a read sees nothing that is not committed', async (t) => {
    const store = await open(t)
    const envelope = newEnvelope()
    await store.transact(async (tx) => {
      await tx.envelopes.add(envelope)
      t.equal(await store.read((reads) => reads.envelopes.find(envelope.id)), null)
    })
    t.ok(await store.read((reads) => reads.envelopes.find(envelope.id)))
  })

  t.test('an envelope is due when it dies unconfirmed, expires, or is revoked, whichever is its case', async (t) => {
    const store = await open(t)
    const [waiting, confirmed, revoked] = [newEnvelope(), newEnvelope(), newEnvelope()]
    await store.transact(async (tx) => {
      for (const one of [waiting, confirmed, revoked]) await tx.envelopes.add(one)
      await tx.envelopes.prolong(waiting.id, 3_000)
      await tx.envelopes.confirm(confirmed.id, 1_500)
      await tx.envelopes.confirm(revoked.id, 1_500)
      t.equal(await tx.envelopes.revoke(revoked.id, 1_600), true)
      t.equal(await tx.envelopes.revoke(revoked.id, 1_700), false)
      const due = async (now: number) => (await tx.envelopes.doomed(now, 10)).map(({ id }) => id)
      t.strictSame(await due(1_599), [])
      t.strictSame(await due(1_600), [revoked.id])
      t.strictSame(await due(3_000), [revoked.id, waiting.id])
      t.strictSame(await due(100_000), [revoked.id, waiting.id, confirmed.id])
      await tx.envelopes.shred(revoked.id, 1_800)
      t.strictSame(await due(100_000), [waiting.id, confirmed.id])
      const gone = known(await tx.envelopes.find(revoked.id))
      t.equal(gone.sealedSecret, null)
      t.equal(gone.shreddedAt, 1_800)
      t.strictSame(await tx.envelopes.stirred(), [{ org: acme, bucket: '2026-01-01.1' }])
      await tx.envelopes.settle(acme, '2026-01-01.1')
      t.strictSame(await tx.envelopes.stirred(), [])
      await tx.envelopes.shred(confirmed.id, 100_000)
      t.strictSame(await tx.envelopes.stirred(), [], 'what goes on its day stirs nothing')
    })
  })

  t.test('copies and changes are told to the gateways that hold them', async (t) => {
    const store = await open(t)
    const envelope = newEnvelope()
    await store.transact(async (tx) => {
      await tx.envelopes.add(envelope)
      const copy = { envelope: envelope.id, digest: random32(), sealedSize: 2, plainSize: 1, gateway: 'gw1', at: 1 }
      await tx.envelopes.addCopy(copy)
      await tx.envelopes.addCopy(copy)
      await tx.envelopes.addCopy({ ...copy, digest: random32(), gateway: 'gw2', at: 2 })
      t.strictSame(
        (await tx.envelopes.copies(envelope.id)).map(({ gateway }) => gateway),
        ['gw2', 'gw1'],
      )
      t.strictSame(await tx.envelopes.copy(envelope.id, copy.digest), copy)
      await tx.changes.add(envelope.id, 'revoked', 5)
      await tx.changes.add(envelope.id, 'shredded', 6)
      const [first, second, ...more] = await tx.changes.after('gw1', 0, 10)
      t.match(
        [first, second],
        [
          { id: envelope.id, kind: 'revoked' },
          { id: envelope.id, kind: 'shredded' },
        ],
      )
      t.equal(more.length, 0)
      t.strictSame(await tx.changes.after('gw1', known(first).cursor, 10), [second])
      t.strictSame(await tx.changes.after('gw3', 0, 10), [])
      await tx.changes.beginAfter(1_000)
      await tx.changes.beginAfter(10)
      await tx.changes.add(envelope.id, 'let-go', 7)
      const [next] = await tx.changes.after('gw1', 1_000, 10)
      t.equal(next?.kind, 'let-go', 'nobody has passed what comes after a restore')
      t.equal((await tx.changes.after('gw1', 0, 10)).length, 3)
    })
  })

  t.test('challenges lose tries down to none; sessions and counters run out', async (t) => {
    const store = await open(t)
    await store.transact(async (tx) => {
      const challenge = {
        id: 'c',
        envelope: newEnvelope().id,
        org: acme,
        address: bob,
        codeHash: null,
        thumbprint: 't',
      }
      await tx.challenges.add({ ...challenge, triesLeft: 2, expiresAt: 10 })
      t.strictSame(
        [await tx.challenges.spend('c'), await tx.challenges.spend('c'), await tx.challenges.spend('c')],
        [1, 0, 0],
      )
      t.equal(await tx.challenges.spend('d'), null)
      await tx.challenges.sweep(10)
      t.equal(await tx.challenges.find('c'), null)
      const session = { id: 's', org: acme, address: bob, thumbprint: 't', createdAt: 1, expiresAt: 10 }
      await tx.sessions.add(session)
      t.strictSame(await tx.sessions.find('s'), session)
      await tx.sessions.sweep(10)
      t.equal(await tx.sessions.find('s'), null)
      t.strictSame([await tx.counters.add('k', 1, 0, 10), await tx.counters.add('k', 2, 5, 99)], [1, 3])
      t.strictSame([await tx.counters.count('k', 9), await tx.counters.count('k', 10)], [3, 0])
      t.equal(await tx.counters.add('k', 1, 10, 20), 1, 'a counter that ran out starts again')
    })
  })

  t.test('policies, persons and notes are kept, the newest in force', async (t) => {
    const store = await open(t)
    const policy = { org: acme, hash: 'a'.repeat(64), text: 'one', activatedAt: 1 }
    await store.transact(async (tx) => {
      await tx.policies.activate(policy)
      await tx.policies.activate({ ...policy, hash: 'b'.repeat(64), text: 'two', activatedAt: 2 })
      t.equal((await tx.policies.active(acme))?.text, 'two')
      t.equal((await tx.policies.byHash(acme, policy.hash))?.text, 'one')
      t.equal(await tx.policies.active(other), null)
      await tx.people.set(acme, bob, 'p1')
      await tx.people.set(acme, bob, 'p2')
      t.equal(await tx.people.find(acme, bob), 'p2')
      t.equal(await tx.people.find(other, bob), null)
      await tx.meta.set('rekeyed', 'x')
      t.equal(await tx.meta.get('rekeyed'), 'x')
      t.equal(await tx.meta.get('kek'), null)
    })
  })
}

export function start(detail: string) {
  const time = '2026-01-01T00:00:00.000Z'
  const ids = { instance: 'AAAAAAAAAAAAAAAAAAAAAA', config: random32() }
  return { kind: 'server-start', time, request: null, version: detail, ...ids } as const
}

function hex(octets: Uint8Array | null): string {
  return octets === null ? '' : Buffer.from(octets).toString('hex')
}
