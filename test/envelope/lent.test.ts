import t from 'tap'
import { giveBack } from '../../envelope/lent.ts'

t.test('memory that is given back is gone at once, with everything that shared it', (t) => {
  const octets = Buffer.allocUnsafeSlow(1_000_000).fill(7)
  const part = octets.subarray(10, 20)
  const before = process.memoryUsage().arrayBuffers
  giveBack(octets)
  t.equal(octets.length, 0)
  t.equal(part.length, 0)
  t.ok(before - process.memoryUsage().arrayBuffers >= 1_000_000)
  giveBack(octets)
  t.end()
})

t.test('a part of some memory gives nothing of it back', (t) => {
  const whole = Buffer.allocUnsafeSlow(1_000_000).fill(7)
  giveBack(whole.subarray(0, 999_999))
  t.equal(whole.length, 1_000_000)
  const pooled = [Buffer.from('one'), Buffer.from('other')]
  for (const one of pooled) giveBack(one)
  t.strictSame(pooled.map(String), ['one', 'other'])
  t.end()
})
