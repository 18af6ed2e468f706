import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { openLogOutput } from '../../protocol/log-output.ts'

t.test('lines arrive whole and in their order, by the page and what is left by itself', async (t) => {
  const file = join(t.testdir(), 'log')
  const fd = openSync(file, 'a')
  t.teardown(() => closeSync(fd))
  const output = openLogOutput(fd)
  const lines = Array.from({ length: 500 }, (_, n) => `line ${n} äöü\n`)
  for (const line of lines) output.write(line)
  await sleep(1000)
  t.equal(readFileSync(file, 'utf8'), lines.join(''))
  output.write('the last\n')
  output.flushSync()
  t.equal(readFileSync(file, 'utf8'), `${lines.join('')}the last\n`)
})

t.test('on a full disk lines are dropped, and nobody waits', async (t) => {
  if (!existsSync('/dev/full')) return void t.comment('no /dev/full here: skipped')
  const fd = openSync('/dev/full', 'w')
  t.teardown(() => closeSync(fd))
  const output = openLogOutput(fd)
  for (let n = 0; n < 2; n++) {
    output.write('x'.repeat(5000))
    output.write('left over\n')
    await sleep(300)
    output.flushSync()
  }
  t.pass('goes on')
})
