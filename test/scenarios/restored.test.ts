import { copyFile, rm } from 'node:fs/promises'
import t from 'tap'
import { policyOf } from './house.ts'
import { attempt, letter } from './retrying-client.ts'
import { openTrouble, until } from './trouble.ts'

/* The key server's database is lost and restored from an older copy, as docs/operations.md says, while the gateway goes on. */
t.setTimeout(120_000)

const bob = 'bob@example.org'
const policy = policyOf([
  "{name: looked-at, when: recipient.domain == 'example.org', then: hold, because: We look at these first.}",
])

t.test('after a restore the gateway hears of what officers decide, as before', async (t) => {
  const trouble = await openTrouble(t, { policy })
  const { house, first } = trouble
  const copy = `${house.database}.copy`
  await trouble.start('keyserver', 'gw1')
  const letGo = async (id: string) => trouble.officer('held', 'release', 'acme.example', id, '--reason', 'fine')
  const hold = async (mail: ReturnType<typeof letter>) =>
    /held until an officer decides: ([\w-]{22})/.exec((await attempt(first, mail)).said)?.[1] ?? 'none'

  await trouble.stop('keyserver')
  await copyFile(house.database, copy)
  await trouble.start('keyserver')
  for (const mail of [letter([bob]), letter([bob])]) {
    t.match(await letGo(await hold(mail)), { code: 0 })
    await until('it arrives', () => trouble.copies(mail, bob).length === 1)
  }

  await trouble.stop('keyserver')
  for (const end of ['-wal', '-shm']) await rm(`${house.database}${end}`, { force: true })
  await copyFile(copy, house.database)
  await trouble.start('keyserver')
  const mail = letter([bob])
  t.match(await letGo(await hold(mail)), { code: 0, said: /its gateway delivers it now/ })
  await until('it arrives', () => trouble.copies(mail, bob).length === 1)
  t.equal(await trouble.verify(), '')
})
