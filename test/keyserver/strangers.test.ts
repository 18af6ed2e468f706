import { pino } from 'pino'
import t from 'tap'
import type { AuditRecord } from '../../audit/kinds.ts'
import { KeyServerError } from '../../keyserver/error.ts'
import type { Store } from '../../keyserver/store.ts'
import { createStrangers } from '../../keyserver/strangers.ts'
import { openHouse } from './house.ts'

type Counted = Extract<AuditRecord, { kind: 'strangers' }>

async function countedIn(house: Awaited<ReturnType<typeof openHouse>>, log: string): Promise<readonly Counted[]> {
  return (await house.records(log)).filter((record) => record.kind === 'strangers')
}

t.test('a flood from anywhere makes at most 501 records a minute, and every refusal is counted', async (t) => {
  const house = await openHouse(t)
  const strangers = createStrangers({ ...house.parts, log: pino({ level: 'silent' }), now: () => 1_800_000_000_000 })
  for (let i = 0; i < 20_000; i++) strangers.count('server', `10.${i % 250}.${i % 200}.0/24`, 'bad-proof')
  await strangers.flush()
  const counted = await countedIn(house, 'server')
  t.ok(counted.length <= 501, `${counted.length} records`)
  t.equal(
    counted.reduce((sum, { count }) => sum + count, 0),
    20_000,
  )
  t.notMatch(JSON.stringify(counted), /10\.\d+\.\d+/, 'networks stand there as keyed digests')
})

t.test('networks, reasons and minutes are told apart, and each log gets its own', async (t) => {
  const house = await openHouse(t)
  let now = 1_800_000_000_000
  const strangers = createStrangers({ ...house.parts, log: pino({ level: 'silent' }), now: () => now })
  strangers.count('server', '192.0.2.0/24', 'bad-proof')
  strangers.count('server', '192.0.2.0/24', 'bad-proof')
  strangers.count('server', '192.0.2.0/24', 'no-session')
  strangers.count('server', '198.51.100.0/24', 'bad-proof')
  strangers.count('acme.example' as never, '192.0.2.0/24', 'not-for-you')
  now += 60_000
  strangers.count('server', '192.0.2.0/24', 'bad-proof')
  await strangers.flush()
  await strangers.flush()
  const counted = await countedIn(house, 'server')
  t.same(counted.map(({ count }) => count).toSorted(), [1, 1, 1, 2])
  t.equal(new Set(counted.map(({ minute }) => minute)).size, 2)
  t.equal(new Set(counted.map(({ network }) => network)).size, 2)
  t.match(await countedIn(house, 'acme.example'), [{ reason: 'not-for-you', count: 1 }])
})

t.test('what cannot be written now is written later', async (t) => {
  const house = await openHouse(t)
  let full = true
  const transact: Store['transact'] = (work) =>
    full ? Promise.reject(new KeyServerError('unavailable')) : house.parts.store.transact(work)
  const store = { ...house.parts.store, transact }
  const strangers = createStrangers({
    ...house.parts,
    store,
    log: pino({ level: 'silent' }),
    now: () => 1_800_000_000_000,
  })
  strangers.count('server', '192.0.2.0/24', 'bad-proof')
  await strangers.flush()
  strangers.count('server', '192.0.2.0/24', 'bad-proof')
  full = false
  await strangers.flush()
  t.match(await countedIn(house, 'server'), [{ count: 2 }])
})
