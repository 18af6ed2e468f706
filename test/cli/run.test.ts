import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { commands } from '../../cli/commands.ts'
import { run } from '../../cli/run.ts'
import { capture } from './capture.ts'

const main = join(import.meta.dirname, '../../cli/main.ts')

t.test('help lists every command, and help on each says how it is used', async (t) => {
  const io = capture()
  t.equal(await run(['help'], io), 0)
  for (const { name, summary } of commands) t.match(io.text(), `${name.padEnd(10)} ${summary}`)
  for (const { name } of commands) {
    for (const argv of [
      ['help', name],
      [name, '--help'],
      [name, 'x', '-h'],
    ]) {
      const one = capture()
      t.equal(await run(argv, one), 0)
      t.ok(one.text().startsWith(`sealpost ${name} `), argv.join(' '))
      t.equal(one.errors(), '')
    }
  }
})

for (const argv of [
  [],
  ['nonsense'],
  ['help', 'nonsense'],
  ['certs'],
  ['certs', 'unmake'],
  ['certs', 'init', '--no-such'],
  ['certs', 'init', 'stray'],
  ['certs', 'add'],
  ['revoke'],
  ['revoke', 'acme.example', 'short', '--reason', 'x'],
  ['revoke', 'ACME', 'A'.repeat(22), '--reason', 'x'],
  ['revoke', 'acme.example', 'A'.repeat(22)],
  ['revoke', 'acme.example', 'A'.repeat(22), '--reason', 'x'],
  ['clock'],
  ['clock', 'accept'],
  ['smtp-user', 'remove'],
  ['smtp-user', 'add', 'two words', '--org', 'acme.example'],
  ['smtp-user', 'add', 'printer'],
]) {
  t.test(`asked wrongly, it exits with 2 and points to the help: sealpost ${argv.join(' ')}`, async (t) => {
    const io = capture()
    t.equal(await run(argv, io), 2)
    t.equal(io.text(), '')
    t.match(io.errors(), /sealpost help/)
    t.notMatch(io.errors(), /\n\s+at /)
  })
}

t.test('a command that was never foreseen to fail says one sentence without a stack', async (t) => {
  const io = capture()
  t.equal(await run(['certs', 'init', '--to', '/dev/null/x'], io), 1)
  t.match(io.errors(), /^sealpost certs: .*\/dev\/null/)
  t.notMatch(io.errors(), /\n/)
})

t.test('as a process it exits with the status, and a reader that has read enough is no failure', async (t) => {
  const wrong = spawn(process.execPath, [main, 'nonsense'], { stdio: ['ignore', 'pipe', 'pipe'] })
  const [errors, status] = await Promise.all([text(wrong.stderr), new Promise((done) => wrong.on('close', done))])
  t.equal(status, 2)
  t.match(errors, /there is no command "nonsense"/)
  const cut = spawn(process.execPath, [main, 'help'], { stdio: ['ignore', 'pipe', 'inherit'] })
  cut.stdout.destroy()
  t.equal(await new Promise((done) => cut.on('close', done)), 0)
})

t.test('a file that is missing, a folder or in the way is told in plain words', async (t) => {
  const at = t.testdir({ 'a-file': '', 'a-folder': {} })
  const said = async (...argv: string[]) => {
    const io = capture()
    t.not(await run(argv, io), 0, argv.join(' '))
    t.notMatch(io.errors(), /\bE[A-Z]{4,}\b/, argv.join(' '))
    return io.errors()
  }
  const [file, folder, missing] = ['a-file', 'a-folder', 'missing'].map((name) => join(at, name))
  const revoke = (config = '') => said('revoke', 'acme.example', 'A'.repeat(22), '--reason', 'x', '--config', config)
  t.equal(await revoke(missing), `${missing}: there is no such file or folder`)
  t.equal(await revoke(folder), `${folder}: is a folder; name a file`)
  t.match(await said('certs', 'init', '--to', `${file}/certs`), 'as if it were a folder')
  t.match(await said('notice', 'preview', '--out', `${file}/preview`), 'as if it were a folder')
  t.match(await said('trace', 'A'.repeat(22), '--database', folder ?? ''), `${folder}: is a folder`)
  t.match(await said('dkim', 'acme.example', '--selector', 's', '--to', `${file}/key`), 'as if it were a folder')
})
