import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { policyOf } from '../scenarios/house.ts'
import { attempt, type Letter, letter } from '../scenarios/retrying-client.ts'
import { openTrouble, type Trouble, until } from '../scenarios/trouble.ts'

const bob = 'bob@example.org'
const bert = 'bert@acme.example'
const policy = policyOf(['{name: colleagues, when: recipient.internal, then: pass}'])
const spool = { retrySeconds: 1, retryMostSeconds: 2 }

t.test('a gateway that spools is killed', async (t) => {
  const trouble = await openTrouble(t, { policy, spools: true, gateway: { spool, limits: { budgetSeconds: 5 } } })
  const { provider, first } = trouble
  await trouble.start('keyserver', 'gw1')
  const waiting = () => filesIn(trouble)

  await t.test('after its 250, while the provider is down: after a start everything is delivered, once', async (t) => {
    await provider.kill()
    const letters = [letter([bob]), letter([bert]), letter([bob, bert], { size: 3_000_000 })]
    for (const mail of letters) t.match(await attempt(first, mail), { code: 250, said: /kept here/ })
    t.equal((await waiting()).length, 4, 'one file for each mail that is to leave')
    t.same(await trouble.leaks(...letters), [], 'and not a word can be read on the disk')
    await trouble.kill('gw1')
    t.same(await trouble.leaks(...letters), [])
    await provider.start()
    await trouble.start('gw1')
    await until('all are delivered', () =>
      letters.every((mail) => mail.to.every((to) => copies(trouble, mail, to) > 0)),
    )
    await until('the spool is empty', async () => (await waiting()).length === 0)
    for (const mail of letters) for (const to of mail.to) t.equal(copies(trouble, mail, to), 1, to)
  })

  await t.test('under load, at any instant: nothing that got its 250 is lost', async (t) => {
    const handed: Letter[] = []
    let over = false
    const clients = Array.from({ length: 8 }, async () => {
      while (!over) {
        const mail = letter([bob], { size: 20_000 })
        if ((await attempt(first, mail, 5_000)).code === 250) handed.push(mail)
        else await sleep(100)
      }
    })
    for (let kills = 0; kills < 4; kills++) {
      await sleep(300 + Math.random() * 700)
      await trouble.kill('gw1')
      await trouble.start('gw1')
    }
    over = true
    await Promise.all(clients)
    t.ok(handed.length > 20, `${handed.length} were taken`)
    await until('the spool is empty', async () => (await waiting()).length === 0, 30_000)
    t.same(
      handed.filter((mail) => copies(trouble, mail, bob) === 0).map(({ id }) => id),
      [],
    )
    const doubled = handed.filter((mail) => copies(trouble, mail, bob) > 1)
    t.ok(doubled.length <= 4 * 15, 'at most what was between dot and note when it died')
    t.comment(`${handed.length} taken, ${doubled.length} doubled by 4 kills`)
  })

  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '')
})

t.test(
  'a provider that is down for a while, inline: clients are told at MAIL, and what follows is delivered',
  async (t) => {
    const trouble = await openTrouble(t, { policy, gateway: { spool, limits: { budgetSeconds: 5 } } })
    const { provider, first } = trouble
    await trouble.start('keyserver', 'gw1')
    await provider.kill()
    const told: string[] = []
    const mail = letter([bob])
    for (let tries = 0; tries < 6; tries++) told.push((await attempt(first, mail)).said)
    t.ok(
      told.every((said) => said.startsWith('451 4.')),
      'each for now',
    )
    t.ok(told.slice(3).some((said) => said.includes('the next hop cannot take the message now')))
    await provider.start()
    await until('it is delivered', async () => {
      await sleep(200)
      return (await attempt(first, mail)).code === 250
    })
    t.equal(copies(trouble, mail, bob), 1)
  },
)

t.test('a provider that dies after the content: 250, and the spool finds out', async (t) => {
  const trouble = await openTrouble(t, { policy, gateway: { spool, limits: { budgetSeconds: 5 } } })
  const { provider, first } = trouble
  await trouble.start('keyserver', 'gw1')
  const mail = letter([bob])
  provider.play(({ phase }) => (phase === 'dot' ? provider.kill().then(() => null) : undefined))
  t.match(await attempt(first, mail), { code: 250, said: /kept here/ })
  t.equal(copies(trouble, mail, bob), 0)
  provider.play(null)
  await provider.start()
  await until('it is delivered', () => copies(trouble, mail, bob) === 1)
  t.same(await trouble.leaks(mail), [])
})

function copies(trouble: Trouble, mail: Letter, recipient: string): number {
  return trouble.copies(mail, recipient).length
}

async function filesIn({ house }: Trouble): Promise<string[]> {
  const names = await readdir(join(house.folder, 'gw1', 'spool'))
  return names.filter((name) => !name.endsWith('.state') && !name.startsWith('.'))
}
