import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadPolicy } from '../../rulebook/index.ts'

const folder = join(import.meta.dirname, 'faulty')

/** Named .txt, so that no formatter mends them. Each file begins with its faults: `# fault LINE:COLUMN how the message begins -> how the hint begins`. */
function expected(text: string) {
  return [...text.matchAll(/^# fault (\d+):(\d+) (.*) -> ?(.*)$/gm)].map(([, line, column, message, hint]) => ({
    line: Number(line),
    column: Number(column),
    message: message ?? '',
    hint: hint ?? '',
  }))
}

for (const name of readdirSync(folder).sort()) {
  t.test(`${name} is refused with the place, the cause and what to write instead`, async (t) => {
    const text = readFileSync(join(folder, name), 'utf8')
    const wanted = expected(text)
    t.ok(wanted.length > 0, 'the file says what is wrong with it')
    const loaded = loadPolicy(text, name)
    const found = loaded.kind === 'faulty' ? loaded.faults : []
    const faults = found.map(({ line, column, message, hint }, index) => ({
      line,
      column,
      message: message.slice(0, wanted[index]?.message.length ?? message.length),
      hint: hint.slice(0, wanted[index]?.hint.length ?? hint.length),
    }))
    t.same(faults, wanted)
    for (const { file, message, hint } of found) {
      t.equal(file, name)
      t.ok(message !== '' && hint !== '', 'says what is wrong and what to write')
      t.notMatch(message + hint, /\n/, 'in one line')
    }
  })
}
