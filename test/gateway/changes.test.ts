import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { createChanges } from '../../gateway/changes.ts'
import { createFolderCopies } from '../../gateway/copies.ts'
import { createLog } from '../../gateway/log.ts'
import { inMemory } from '../../gateway/sealing.ts'
import { type EnvelopeId, parseEnvelopeId } from '../../protocol/identifiers.ts'

function id(letter: string): EnvelopeId {
  const parsed = parseEnvelopeId(`${letter.repeat(21)}A`)
  if (parsed === null) throw new Error(letter)
  return parsed
}

t.test('a sealed copy goes when its envelope was shredded, and the cursor outlives the process', async (t) => {
  const folder = t.testdir()
  const copies = await createFolderCopies(join(folder, 'copies'))
  for (const letter of ['a', 'b', 'c'])
    await copies.put(id(letter), inMemory(Buffer.from('sealed'), 6), { durable: false })
  const feed = [
    { cursor: 4, id: id('a'), kind: 'shredded' as const },
    { cursor: 7, id: id('b'), kind: 'revoked' as const },
  ]
  const asked: number[] = []
  let up = true
  const keyServer = {
    async changes(after: number) {
      asked.push(after)
      if (!up) throw new Error('down')
      const changes = feed.filter(({ cursor }) => cursor > after)
      return { changes, next: changes.at(-1)?.cursor ?? after }
    },
  }
  const log = createLog('silent', new PassThrough())
  const noted: string[] = []
  const holds = { note: (envelope: EnvelopeId) => void noted.push(envelope) }
  await createChanges({ folder, keyServer, copies, holds, log }).poll()
  t.strictSame([await copies.has(id('a')), await copies.has(id('b')), await copies.has(id('c'))], [false, true, true])
  t.equal(readFileSync(join(folder, 'changes.cursor'), 'utf8').trim(), '7')

  const restarted = createChanges({ folder, keyServer, copies, holds, log })
  up = false
  await restarted.poll()
  up = true
  feed.push({ cursor: 9, id: id('c'), kind: 'shredded' })
  await restarted.poll()
  t.equal(await copies.has(id('c')), false)
  t.strictSame(noted, [id('a'), id('b'), id('c')], 'what is held hears of all of it')
  t.equal(asked.filter((after) => after === 0).length, 1, 'nothing is asked for twice')
})
