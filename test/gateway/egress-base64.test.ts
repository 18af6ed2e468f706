import t from 'tap'
import { base64Stream } from '../../gateway/base64-lines.ts'
import { watchBase64 } from '../../gateway/egress-base64.ts'
import { copyOf } from './sealed-mail.ts'

const tail = '--boundary--\r\n'

/** What the watch lets through of a sealed copy of that size, given in chunks of `step`. */
async function watched(size: number, step: number): Promise<{ readonly given: Buffer; readonly passed: unknown }> {
  const copy = copyOf(size)
  const lines: Uint8Array[] = []
  for await (const chunk of base64Stream(copy.chunks())) lines.push(chunk)
  const given = Buffer.concat([...lines, Buffer.from(tail)])
  async function* stream() {
    for (let at = 0; at < given.length; at += step) yield given.subarray(at, at + step)
  }
  const passed: Uint8Array[] = []
  for await (const piece of watchBase64(stream(), copy, tail)) {
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
