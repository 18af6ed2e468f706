import t from 'tap'
import { base64Stream } from '../../gateway/base64-lines.ts'
import { watchBase64 } from '../../gateway/egress-base64.ts'
import { copyOf } from './sealed-mail.ts'

const tail = '--boundary--\r\n'

type Watched = { readonly given: Buffer; readonly passed: unknown }

/** What the watch lets through of a sealed copy of that size, given in chunks of `step` after something `altered` it. */
async function watched(size: number, step: number, altered = (_: Buffer) => {}, pieces = size): Promise<Watched> {
  const copy = copyOf(size)
  const lines: Uint8Array[] = []
  for await (const chunk of base64Stream(copy.chunks(), size, 'kept')) lines.push(chunk)
  const given = Buffer.concat([...lines, Buffer.from(tail)])
  altered(given)
  async function* stream() {
    for (let at = 0; at < given.length; at += step) yield given.subarray(at, at + step)
  }
  async function* chunks() {
    for (let at = 0; at < size; at += pieces) yield copy.bytes?.subarray(at, at + pieces) ?? new Uint8Array()
  }
  const passed: Uint8Array[] = []
  for await (const piece of watchBase64(stream(), { ...copy, chunks }, tail)) {
    if (typeof piece === 'string') return { given, passed: piece }
    passed.push(piece)
  }
  return { given, passed: Buffer.concat(passed) }
}

t.test('an envelope of any length leaves, also one whose last line is full and ends in padding', async (t) => {
  for (let size = 57 * 20; size <= 57 * 21; size++) {
    for (const step of [7, 78, 1000, 10_000]) {
      const { given, passed } = await watched(size, step)
      if (!Buffer.isBuffer(passed) || !passed.equals(given))
        t.fail(`${size} octets in chunks of ${step}: ${String(passed)}`)
    }
  }
  t.pass('58 lengths')
})

t.test('a copy that is read in pieces of any length is the same copy', async (t) => {
  for (const pieces of [1, 2, 16, 56, 57, 58, 113, 1000]) {
    const { given, passed } = await watched(57 * 40 + 5, 999, undefined, pieces)
    t.ok(Buffer.isBuffer(passed) && passed.equals(given), `pieces of ${pieces}`)
  }
})

t.test('not one other octet leaves, wherever it stands', async (t) => {
  const size = 57 * 30 + 5
  const coded = 78 * 30 + 10
  for (let at = 0; at < coded; at += 1) {
    for (const octet of [0x2d, 0x5f, 0x3d, 0x20, 0x0a, 0x00, 0xff, 0x41, 0x42]) {
      let same = false
      const alter = (given: Buffer) => {
        same = given[at] === octet
        given[at] = octet
      }
      const { passed } = await watched(size, 1000, alter)
      if (!same && typeof passed !== 'string') t.fail(`0x${octet.toString(16)} at ${at} left`)
    }
  }
  t.pass(`${coded} places`)
})
