import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { run } from '../../cli/run.ts'
import { openOffice } from '../gateway/office.ts'
import { capture } from './capture.ts'

const anna = 'anna@acme.example'
const listener = { delivery: 'spool' }
const spool = { retrySeconds: 3600, retryMostSeconds: 3600 }
const letter = (id: string) =>
  `From: ${anna}\nTo: a@example.org\nSubject: x\nMessage-ID: <${id}@acme.example>\n\nthe words\n`

t.test('the queue of a running gateway', async (t) => {
  const office = await openOffice(t, {}, { listener, gateway: { spool } })
  const data = ['--data', office.data]
  const ask = async (...argv: string[]) => {
    const io = capture()
    return { exit: await run(['queue', ...argv], io), text: io.text(), errors: io.errors() }
  }
  const listed = async () => {
    const { text } = await ask('list', '--json', ...data)
    return JSON.parse(text) as { id: string; attempts: number; held: boolean; recipients: { last: string | null }[] }[]
  }
  t.match(await ask('list', ...data), { exit: 0, text: 'The queue is empty.' })
  office.refuse = () => 451
  for (const id of ['1', '2', '3']) t.match(await office.send(anna, ['a@example.org'], letter(id)), /^250 /)
  await until(async () => (await listed()).filter(({ attempts }) => attempts === 1).length === 3)
  const [first, second, third] = (await listed()).map(({ id }) => id)

  await t.test('list and show tell who waits and why, in lines or as JSON', async (t) => {
    const { text } = await ask('list', ...data)
    t.equal(text.split('\n').length, 3)
    t.match(text, /^[0-9a-f]{22} .* 1 attempts, next .* to a@example\.org; next hop: 451 4\.0\.0 as the test says$/m)
    t.match(await ask('show', first ?? '', ...data), { exit: 0, text: /sender +anna@acme\.example\n/ })
    t.match(JSON.parse((await ask('show', first ?? '', '--json', ...data)).text), {
      id: first,
      attempts: 1,
      held: false,
    })
  })

  await t.test('a configuration names the place as well', async (t) => {
    const config = join(t.testdir({}), 'gateway.yaml')
    await writeFile(config, `data: ${office.data}\n`)
    t.match(await ask('list', '--config', config), { exit: 0, text: /a@example\.org/ })
  })

  await t.test('hold keeps one back, flush tries it now', async (t) => {
    t.match(await ask('hold', first ?? '', ...data), { exit: 0, text: 'Done: 1 mail.' })
    t.equal((await listed()).find(({ id }) => id === first)?.held, true)
    office.refuse = () => null
    t.match(await ask('flush', second ?? '', ...data), { exit: 0 })
    await until(async () => office.mails.length === 1 && (await listed()).length === 2)
    t.match(await ask('flush', '--all', ...data), { exit: 0, text: 'Done: 2 mails.' })
    await until(async () => office.mails.length === 3 && (await listed()).length === 0)
  })

  await t.test('drop takes one out for good, and tells its sender if asked to', async (t) => {
    office.mails.length = 0
    office.refuse = (to) => (to.startsWith('a@') ? 451 : null)
    for (const id of ['4', '5']) await office.send(anna, ['a@example.org'], letter(id))
    await until(async () => (await listed()).filter(({ attempts }) => attempts === 1).length === 2)
    const [fourth, fifth] = (await listed()).map(({ id }) => id)
    t.match(await ask('drop', fourth ?? '', ...data), { exit: 0 })
    t.match(await ask('drop', fifth ?? '', '--bounce', ...data), { exit: 0 })
    await until(async () => (await listed()).length === 0)
    t.equal(office.mails.length, 1)
    t.match(office.mails[0]?.text, /taken out of the queue by an administrator/)
    t.match(await office.send(anna, ['a@example.org'], letter('4')), /^550 .*earlier attempt/, 'it is not tried again')
  })

  await t.test('who cannot read the token gives no orders', async (t) => {
    const { port } = JSON.parse(await readFile(join(office.data, 'queue.json'), 'utf8'))
    for (const authorization of ['', 'Bearer x', `Bearer ${'A'.repeat(43)}`]) {
      const said = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', headers: { authorization }, body: '{}' })
      t.equal(said.status, 401)
    }
  })

  await t.test('what is not there is said so', async (t) => {
    t.match(await ask('show', third ?? '', ...data), { exit: 1, errors: /not in the queue/ })
    t.match(await ask('drop', third ?? '', ...data), { exit: 1, errors: /no such mail/ })
    t.match(await ask('drop', ...data), { exit: 2, errors: /say which ID/ })
    t.match(await ask('list'), { exit: 2, errors: /--config/ })
    t.match(await ask('polish', third ?? '', ...data), { exit: 2, errors: /list, show, flush, hold or drop/ })
  })
})

t.test('without its gateway the queue can be listed, and nothing can be ordered', async (t) => {
  const data = ['--data', t.testdir({ spool: {} })]
  for (const argv of [
    ['flush', '--all'],
    ['hold', 'a'.repeat(22)],
    ['drop', 'a'.repeat(22)],
  ]) {
    const io = capture()
    t.equal(await run(['queue', ...argv, ...data], io), 1)
    t.match(io.errors(), /is not running: start it first/)
  }
  const io = capture()
  t.equal(await run(['queue', 'list', ...data], io), 0)
  t.equal(io.text(), 'The queue is empty.')
})

async function until(done: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await done()) return
    await sleep(50)
  }
  throw new Error('it did not come to pass')
}

t.test('a port that was a gateway’s, and is another program’s by now, is no gateway', async (t) => {
  const other = createServer((_, response) => response.end('<html>')).listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const data = t.testdir({ spool: {}, 'queue.json': JSON.stringify({ port, token: 'of a run before' }) })
  const io = capture()
  t.equal(await run(['queue', 'flush', '--all', '--data', data], io), 1)
  t.match(io.errors(), /is not running: start it first/)
})

t.test('who may not read where to give orders is told so, and not that the gateway is down', async (t) => {
  const data = t.testdir({ spool: {}, 'queue.json': {} })
  const io = capture()
  t.equal(await run(['queue', 'flush', '--all', '--data', data], io), 1)
  t.match(io.errors(), /queue\.json: .*; run this as the gateway's user/)
})

t.test('a folder without a spool is named, and not taken for an empty queue', async (t) => {
  const data = t.testdir({ 'a-file': '' })
  for (const folder of [join(data, 'mistyped'), data, join(data, 'a-file')]) {
    const io = capture()
    t.equal(await run(['queue', 'list', '--data', folder], io), 1)
    t.match(io.errors(), join(folder, 'spool'))
    t.match(io.errors(), 'name the data folder of a gateway that has run')
    t.equal(io.text(), '')
  }
})
