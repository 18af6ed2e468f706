import t from 'tap'
import { createClock } from '../../keyserver/clock.ts'
import { isHeld } from '../../keyserver/retry.ts'

t.test('a lease that ran out while the key server was away is held until the gateway had time to report', async (t) => {
  const died = 1_000_000
  const lease = { gateway: 'gw1', instance: 'x', until: died + 60_000 }
  const other = { gateway: 'gw2', instance: 'y' }
  let passed = 0
  const clock = createClock({ wall: () => died + 600_000 + passed, elapsed: () => passed }, died, null)
  t.ok(isHeld(lease, other, clock.leases()), 'just started, ten minutes later')
  passed = 4_999
  t.ok(isHeld(lease, other, clock.leases()))
  t.notOk(isHeld({ ...lease, until: died }, other, clock.leases()), 'it was over before the server died')
  passed = 5_000
  t.notOk(isHeld(lease, other, clock.leases()))
})

t.test('a first start has no earlier time for leases to stand still at', async (t) => {
  const clock = createClock({ wall: () => 7, elapsed: () => 0 }, null, null)
  t.equal(clock.leases(), 7)
})
