import t from 'tap'
import { createClock } from '../../keyserver/clock.ts'
import { acme, known, onlyEnvelope, openPremises, sealed, sealing } from './premises.ts'

const HOUR = 3_600_000
const NOON = Date.UTC(2026, 5, 1, 12)

function hands(wall = NOON) {
  let shown = wall
  let elapsed = 0
  return {
    source: { wall: () => shown, elapsed: () => elapsed },
    shift: (by: number) => {
      shown += by
    },
    pass: (by: number) => {
      shown += by
      elapsed += by
    },
  }
}

const table: readonly (readonly [string, number | null, (one: ReturnType<typeof hands>) => void, string])[] = [
  ['a first start is good', null, () => undefined, 'good'],
  ['a start soon after the last is good', NOON - HOUR, () => undefined, 'good'],
  ['time that really passes is good, however long', NOON, (one) => one.pass(90 * 24 * HOUR), 'good'],
  ['a small correction forward is good', NOON, (one) => one.shift(4 * 60_000), 'good'],
  ['a small correction back is tolerated', NOON, (one) => one.shift(-4_000), 'good'],
  ['a jump forward stops shredding', NOON, (one) => one.shift(6 * 60_000), 'jumped'],
  ['a gap of two days since the last run stops shredding', NOON - 49 * HOUR, () => undefined, 'jumped'],
  ['a clock behind what was seen stops releases', NOON, (one) => one.shift(-60_000), 'behind'],
  ['so does one that starts behind what an earlier run saw', NOON + HOUR, () => undefined, 'behind'],
]

for (const [name, seen, act, expected] of table) {
  t.test(name, async (t) => {
    const one = hands()
    const clock = createClock(one.source, seen, null)
    act(one)
    t.equal(clock.state().kind, expected)
  })
}

t.test(
  'a jump is remembered until somebody accepts it, also when the clock comes back, and over a restart',
  async (t) => {
    const one = hands()
    const clock = createClock(one.source, NOON, null)
    one.shift(365 * 24 * HOUR)
    t.equal(clock.state().kind, 'jumped')
    one.shift(-365 * 24 * HOUR)
    t.equal(clock.state().kind, 'behind')
    t.equal(createClock(one.source, NOON, 'the clock moved').state().kind, 'jumped')
    clock.accept()
    t.equal(clock.state().kind, 'good')
    t.equal(clock.highest(), clock.now())
  },
)

t.test('a clock set a year ahead destroys nothing, until an officer says that it is right', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  const gw1 = premises.client('gw1')
  const { id } = onlyEnvelope(await gw1.issue(sealing(premises, ['bob@example.org'])))
  await gw1.bulk('/v1/confirm', [sealed(id, ['bob@example.org'])])
  const secret = async () =>
    known(await premises.server.parts.store.read((reads) => reads.envelopes.find(id))).sealedSecret
  premises.shift(365 * 24 * HOUR)
  await premises.server.shred()
  t.ok(await secret(), 'nothing was shredded')
  await premises.restart()
  await premises.server.shred()
  t.ok(await secret(), 'nor after a restart')
  t.match(await gw1.post('/v1/clock', { reason: 'it is next year' }), { status: 403 })
  const officer = premises.client('officer1')
  t.match(await officer.post('/v1/clock', { reason: 'it is next year' }), { status: 200 })
  await premises.server.shred()
  t.equal(await secret(), null)
})

t.test('after a day back the state is behind, and says since when', async (t) => {
  const premises = await openPremises(t.testdir())
  t.teardown(() => premises.close())
  premises.shift(-24 * HOUR)
  t.match(premises.server.parts.clock.state(), { kind: 'behind', because: /seen earlier/ })
  await premises.restart()
  t.match(premises.server.parts.clock.state(), { kind: 'behind' }, 'a restart does not forget it')
  t.ok(premises.server.parts.policies.active(acme))
})
