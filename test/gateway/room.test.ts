import t from 'tap'
import { createRoom } from '../../gateway/room.ts'

async function text(stream: AsyncIterable<Uint8Array>) {
  const pieces: Uint8Array[] = []
  for await (const piece of stream) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces).toString('latin1')
}

t.test('octets are held as long as there is room, and read from anywhere as often as asked', async (t) => {
  const room = createRoom(10)
  const [one, other] = [room.hold(8), room.hold(8)]
  t.equal(one.add(Buffer.from('abcd')), true)
  t.equal(one.add(Buffer.from('efghi')), false, 'more than its own share')
  t.equal(one.add(Buffer.from('efgh')), true)
  t.equal(other.add(Buffer.from('xyz')), false, 'more than is left')
  t.equal(other.add(Buffer.from('xy')), true)
  for (const from of [0, 3, 4, 7, 8, 9]) t.equal(await text(one.read(from)), 'abcdefgh'.slice(from))
  t.equal(await text(other.read(0)), 'xy')
})

t.test('what is released makes room again, once, and is never read as something shorter', async (t) => {
  const room = createRoom(4)
  const held = room.hold(4)
  held.add(Buffer.from('ab'))
  held.add(Buffer.from('cd'))
  const reading = held.read(0)[Symbol.asyncIterator]()
  await reading.next()
  held.release()
  held.release()
  await t.rejects(reading.next(), { message: /no longer held/ })
  await t.rejects(text(held.read(0)), { message: /no longer held/ })
  t.equal(held.add(Buffer.from('e')), false)
  const next = room.hold(8)
  t.equal(next.add(Buffer.from('12345')), false)
  t.equal(next.add(Buffer.from('1234')), true)
})

t.test('a message that drips in does not cost an object an octet', async (t) => {
  const room = createRoom(1_000_000)
  const held = room.hold(1_000_000)
  const octets = Buffer.from('0123456789'.repeat(2000))
  for (let at = 0; at < octets.length; at++) held.add(octets.subarray(at, at + 1))
  let pieces = 0
  for await (const piece of held.read(0)) pieces += piece.length > 0 ? 1 : 0
  t.ok(pieces < octets.length / 50, `${pieces} pieces`)
  t.equal(await text(held.read(0)), octets.toString('latin1'))
})
