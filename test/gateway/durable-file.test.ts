import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writeDurably } from '../../gateway/durable-file.ts'

t.test('what cannot be written leaves nothing behind, and names the file that was meant', async (t) => {
  const folder = t.testdir({ taken: { by: 'a folder' } })
  const path = join(folder, 'taken')
  const fault = await writeDurably(path, 'text').catch((error: unknown) => error)
  t.match(fault, { path })
  t.strictSame(readdirSync(folder), ['taken'])
})
