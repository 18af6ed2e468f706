import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { createContentWriter, MEMORY_LIMIT, readMemory } from '../../gateway/intake.ts'
import { createRoom } from '../../gateway/room.ts'
import { createScratch } from '../../gateway/scratch.ts'

const sha256 = (text: string) => createHash('sha256').update(text, 'latin1').digest('hex')
const hex = (octets: Uint8Array | undefined) => Buffer.from(octets ?? []).toString('hex')
async function text(stream: AsyncIterable<Uint8Array> | undefined) {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream ?? []) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString('latin1')
}

const header =
  'Received: from x by y; today\r\nX-MS-Exchange-Organization-SCL: 1\r\nFrom: a@acme.example\r\nBcc: secret@example.org,\r\n other@example.org\r\nSubject: s\r\n'
const plain = 'Received: from x by y; today\r\nFrom: a@acme.example\r\nSubject: s\r\n'
const traceFree = 'From: a@acme.example\r\nBcc: secret@example.org,\r\n other@example.org\r\nSubject: s\r\n'

const long = `\r\n${'0123456789abcdef\r\n'.repeat(150_000)}`
for (const [where, room, body] of [
  ['in memory', 0, '\r\nhello\r\n'],
  ['in the scratch file', 0, long],
  ['in memory as far as there is room', 1_500_000, long],
  ['in memory because there is room', 3_000_000, long],
] as const) {
  t.test(
    `a message that waits ${where} is read as often as asked, with and without what must reach no recipient`,
    async (t) => {
      const folder = t.testdir()
      const writer = createContentWriter(folder, createRoom(room))
      const wire = Buffer.from(header + body, 'latin1')
      for (let at = 0; at < wire.length; at += 70_001) await writer.write(wire.subarray(at, at + 70_001))
      const content = await writer.finish()
      t.strictSame(readdirSync(folder), [], 'the file has no name')
      t.equal(content?.octets === null, wire.length > MEMORY_LIMIT)
      for (let time = 1; time <= 2; time++) {
        t.ok((await text(content?.accepted())) === header + body)
        t.ok((await text(content?.plaintext())) === plain + body)
        t.ok((await text(content?.body())) === body)
      }
      t.equal(content?.size, wire.length)
      t.equal(content?.plainSize, plain.length + body.length)
      t.equal(content?.bodySize, body.length)
      t.equal(hex(content?.traceFreeDigest), sha256(traceFree + body))
      t.equal(content?.eightBit, false)
      await content?.discard()
      await content?.discard()
      if (wire.length > MEMORY_LIMIT) await t.rejects(text(content?.accepted()), 'nothing is read afterwards')
    },
  )
}

t.test('octets above 127 in the body are noticed, in the header they are not the body', (t) => {
  t.equal(readMemory(Buffer.from('Subject: \xfc\r\n\r\nplain\r\n', 'latin1'))?.eightBit, false)
  t.equal(readMemory(Buffer.from('Subject: u\r\n\r\npl\xe4in\r\n', 'latin1'))?.eightBit, true)
  t.end()
})

t.test('a message that is all header, or nothing at all, is a message', (t) => {
  t.equal(readMemory(Buffer.from('Subject: x\r\n'))?.bodySize, 0)
  t.equal(readMemory(Buffer.alloc(0))?.size, 0)
  t.end()
})

t.test('a scratch file that was altered or cut is not read', async (t) => {
  const scratch = await createScratch(t.testdir())
  await scratch.write(Buffer.alloc(300_000, 1))
  await scratch.finish()
  await t.rejects(text(scratch.read(0, 300_001)), { message: /shorter/ })
  t.equal((await text(scratch.read(262_100, 262_200))).length, 100, 'across two records')
  await scratch.close()
  await t.rejects(text(scratch.read(0, 10)), 'and after it is closed')
})
