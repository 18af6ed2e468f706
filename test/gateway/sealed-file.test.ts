import { randomBytes } from 'node:crypto'
import { existsSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createSealedFile } from '../../gateway/sealed-file.ts'

const octets = randomBytes(1_200_000)

async function written(t: Test) {
  const file = await createSealedFile(join(t.testdir(), 'sealed'))
  for (let at = 0; at < octets.length; at += 500_000) await file.write(octets.subarray(at, at + 500_000))
  return file
}

async function next(reading: AsyncIterator<Uint8Array>): Promise<Buffer> {
  const step = await reading.next()
  return step.done === true ? Buffer.alloc(0) : Buffer.from(step.value)
}

t.test('two readers in step see the same, whichever is ahead', async (t) => {
  const file = await written(t)
  for (const order of ['ababababab', 'aabbaabbaabb', 'abbaabbaabba', 'aaaaaabbbbbb']) {
    const readings = {
      a: file.read(octets.length)[Symbol.asyncIterator](),
      b: file.read(octets.length)[Symbol.asyncIterator](),
    }
    const seen = { a: Buffer.alloc(0), b: Buffer.alloc(0) }
    for (const who of order) {
      const one = who === 'a' ? 'a' : 'b'
      seen[one] = Buffer.concat([seen[one], await next(readings[one])])
    }
    t.ok(seen.a.equals(octets), `${order}: one`)
    t.ok(seen.b.equals(octets), `${order}: the other`)
  }
  await file.dispose()
})

t.test('what is read is given back: memory is bounded by what is looked at', async (t) => {
  const file = await written(t)
  const before = process.memoryUsage().arrayBuffers
  let most = 0
  for (let time = 0; time < 20; time++) {
    for await (const piece of file.read(octets.length)) {
      most = Math.max(most, process.memoryUsage().arrayBuffers - before)
      t.ok(piece.length > 0)
    }
  }
  t.ok(most < octets.length, `${most} octets`)
  await file.dispose()
})

t.test('a file that was cut off is not read as something shorter, and goes with its name', async (t) => {
  const file = await written(t)
  truncateSync(file.path, 600_000)
  const read = async () => {
    for await (const _ of file.read(octets.length));
  }
  await t.rejects(read(), { message: /shorter/ })
  await file.dispose()
  t.equal(existsSync(file.path), false)
  await t.rejects(read(), 'nothing is read afterwards')
})
