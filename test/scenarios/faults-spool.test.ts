import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { loadConfig } from '../../keyserver/config-file.ts'
import { startServer } from '../../keyserver/server.ts'
import { attempt, letter, retry } from './retrying-client.ts'
import { openTrouble, type Trouble, until } from './trouble.ts'

const anna = 'anna@acme.example'
const bob = 'bob@example.org'
/** Longer than an issued envelope waits to be confirmed. */
const LATER = 11 * 60_000

t.test('a gateway is killed when a mail lies in its spool and is not confirmed yet', async (t) => {
  const trouble = await openTrouble(t, { spools: true, gateway: { limits: { budgetSeconds: 20 } } })
  const { provider, first, second } = trouble
  await trouble.start('keyserver', 'gw1', 'gw2')
  const mail = letter([bob], { size: 12_000_000 })
  const dying = attempt(first, mail)
  await until('it is being sealed', async () => (await files(trouble)).some((name) => name.endsWith('.sealing')))
  process.kill(trouble.pid('keyserver'), 'SIGSTOP')
  await until('it lies in the spool', async () => (await spooled(trouble)).length === 1)
  await trouble.kill('gw1')
  await trouble.kill('keyserver')
  t.match(await dying, { code: 0 }, 'nobody was told that it is accepted')

  const server = await startServer(loadConfig(join(trouble.house.folder, 'keyserver.yaml')), {
    log: pino({ level: 'silent' }),
    version: '0.0.0',
    time: { wall: () => Date.now() + LATER, elapsed: () => performance.now() + LATER },
  })
  t.teardown(() => server.close())
  await server.shred()
  t.match((await retry(mail, { ports: [second] })).at(-1), { code: 250 }, 'the client goes another way')
  await until('it is delivered by way of the other gateway', () => trouble.copies(mail, bob).length === 1)
  await trouble.start('gw1')
  await until('what was left is gone', async () => (await spooled(trouble)).length === 0)
  t.equal(trouble.copies(mail, bob).length, 1, 'nobody gets it twice')
  t.same(
    provider.kept.filter(({ recipients }) => recipients.includes(anna)).map(({ octets }) => octets.toString('latin1')),
    [],
    'and the sender hears nothing of it',
  )
})

const files = ({ house }: Trouble) => readdir(join(house.folder, 'gw1'), { recursive: true })

async function spooled({ house }: Trouble): Promise<string[]> {
  return (await readdir(join(house.folder, 'gw1', 'spool'))).filter((name) => /^[0-9a-f]{22}$/.test(name))
}
