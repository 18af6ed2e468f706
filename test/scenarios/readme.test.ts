import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { freePorts } from '../../cli/house.ts'

t.setTimeout(150_000)

/* What README.md promises a newcomer, run as it is written there (that its commands and links exist is held in repo.test.ts). */
const root = join(import.meta.dirname, '..', '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const scripts = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> })
  .scripts

type Ended = { readonly status: number | null; readonly said: string }

/** A script of package.json, by the Node that runs this test and not by npm, which may be another. */
function start(
  script: string,
  args: readonly string[],
): { child: ChildProcess; said: () => string; ended: Promise<Ended> } {
  const [node, file = ''] = (scripts[script] ?? '').split(' ')
  if (node !== 'node') throw new Error(`the script ${script} is not run by node`)
  const child = spawn(process.execPath, [file, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (said += piece.toString()))
  const ended = once(child, 'close').then(([status]) => ({ status: status as number | null, said }))
  return { child, said: () => said, ended }
}

function folderOf(test: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-demo-'))
  test.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

t.test('npm run demo -- --once does all of it, one line a step, within 30 s', async (t) => {
  t.match(readme, 'npm run demo -- --once')
  const folder = folderOf(t)
  const began = performance.now()
  const { status, said } = await start('demo', ['--once', '--folder', folder]).ended
  t.equal(status, 0, said)
  t.ok(performance.now() - began < 30_000)
  t.match(said, folder, 'names the one folder that it writes into')
  const steps = said.split('\n').filter((line) => /^ {2}ok +\d+ ms {2}\S/.test(line))
  t.ok(steps.length >= 10, said)
  for (const what of [/provider saw none/, /one-time code/, /octet for octet/, /log verifies/]) t.match(said, what)
  t.match(said, /All of it held/)
})

t.test('npm run demo stays up, tells how to go on, and starts again from its folder', async (t) => {
  const folder = folderOf(t)
  const names = ['smtp', 'inbox', 'provider-smtp', 'reader', 'gateways', 'keyserver-ops', 'copies', 'gateway-ops']
  const ports = await freePorts(names.length)
  const args = ['--folder', folder, ...names.flatMap((name, i) => [`--${name}`, `${ports[i]}`])]
  for (const time of ['the first time', 'the second time']) {
    const demo = start('demo', args)
    t.teardown(() => demo.child.kill('SIGKILL'))
    for (
      let waited = 0;
      !demo.said().includes('Ctrl-C ends it') && demo.child.exitCode === null && waited < 40_000;
      waited += 100
    )
      await sleep(100)
    t.match(demo.said(), /swaks --server localhost:\d+ .*--from anna@acme\.example/, time)
    t.match(demo.said(), `http://localhost:${ports[1]}`)
    t.ok((await fetch(`http://localhost:${ports[1]}/`)).ok, 'the inbox is there')
    t.match(demo.said(), 'The provider holds a sealed mail now.')
    demo.child.kill('SIGINT')
    t.equal((await demo.ended).status, 0, 'Ctrl-C ends it')
  }
  const logs = readdirSync(folder).filter((name) => name.endsWith('.log'))
  t.ok(logs.length >= 2)
  for (const log of logs)
    t.notMatch(
      readFileSync(join(folder, log), 'utf8'),
      /lighthouse|bob@example\.org/,
      `${log} holds nothing of the mail`,
    )
})

t.test('a taken port is named, with what to do', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const { status, said } = await start('demo', ['--once', '--folder', folderOf(t), '--smtp', `${port}`]).ended
  t.not(status, 0)
  t.match(said, `port ${port} is taken by another program: name a free one with --smtp NUMBER`)
  t.notMatch(said, /\.ts:\d+/)
})

t.test('what README says of the demo and the commands is what they say', async (t) => {
  const demo = await start('demo', ['--help']).ended
  t.equal(demo.status, 0)
  t.match(demo.said, /--folder/)
  t.match(demo.said, /--smtp/)
  const cli = (...args: string[]) =>
    spawnSync(process.execPath, ['cli/main.ts', ...args], { cwd: root, encoding: 'utf8' })
  const named = [...readme.matchAll(/npx sealpost ([a-z-]+) ([a-z]+)/g)]
  t.ok(named.length >= 3)
  for (const [, command = '', action = ''] of named) {
    const help = cli('help', command)
    t.equal(help.status, 0, command)
    t.match(help.stdout, action, `${command} knows ${action}`)
  }
  t.match(readme, 'npx sealpost policy test policies/acme.example.yaml')
  t.equal(cli('policy', 'test', 'policies/acme.example.yaml').status, 0)
  t.match(readme, 'npx sealpost certs init')
  const folder = folderOf(t)
  t.equal(cli('certs', 'init', '--to', join(folder, 'certs')).status, 0)
})
