import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { type Dialogue, openDialogue } from './dialogue.ts'
import type { Moment } from './flaky-provider.ts'
import { policyOf } from './house.ts'
import { attempt, type Letter, letter, retry } from './retrying-client.ts'
import { openTrouble, type Trouble, until, waysToSay } from './trouble.ts'

const bob = 'bob@example.org'
const eve = 'eve@example.net'
const bert = 'bert@acme.example'
const policy = policyOf([
  '{name: colleagues, when: recipient.internal, then: pass}',
  "{name: partners, when: recipient.domain == 'example.net', then: seal, ttl: 7d}",
])

t.test('the gateway is killed at every step of a message', async (t) => {
  // A lease lasts ten seconds longer than this.
  // Without room in memory: what is large lies on the disk.
  const trouble = await openTrouble(t, { policy, gateway: { limits: { budgetSeconds: 5, memory: 0 } } })
  const { provider, first, second } = trouble
  await trouble.start('keyserver', 'gw1', 'gw2')
  const killAt = (phase: Moment['phase'], nth = 1) => {
    let seen = 0
    provider.play(async (moment) => {
      if (moment.phase === phase && ++seen === nth) await trouble.kill('gw1')
      return undefined
    })
  }
  const comeBack = async () => {
    provider.play(null)
    await trouble.start('gw1')
  }

  await t.test(
    'while a large message is half in: its words are nowhere on the disk, and the retry delivers',
    async (t) => {
      const mail = letter([bob], { size: 4_000_000 })
      const dialogue = await halfIn(first, mail)
      await until('the scratch file', () =>
        openFiles(trouble.pid('gw1')).some((file) => file.octets.length > 2_000_000),
      )
      const files = openFiles(trouble.pid('gw1'))
      const scratch = files.filter(({ name }) => /scratch-\w+ \(deleted\)$/.test(name))
      t.equal(scratch.length, 1, 'it lies in a file that has no name any more')
      const words = waysToSay(mail.canary)
      t.same(
        files.filter(({ octets }) => words.some((word) => octets.includes(word))).map(({ name }) => name),
        [],
      )
      t.same(await trouble.leaks(mail), [])
      await trouble.kill('gw1')
      await t.rejects(dialogue.reply(), 'the client gets no answer')
      t.equal(provider.seen.length, 0, 'nothing has left')
      t.same(await trouble.leaks(mail), [], 'nor is anything left behind')
      await comeBack()
      t.match((await retry(mail, { ports: [first] })).at(-1), { code: 250 })
      t.equal(trouble.copies(mail, bob).length, 1)
      t.same(await trouble.leaks(mail), [])
    },
  )

  await t.test('while it seals: nothing has left, and the retry delivers', async (t) => {
    const mail = letter([bob], { size: 22_000_000 })
    const before = provider.seen.length
    const dying = attempt(first, mail)
    const folder = join(trouble.house.folder, 'gw1')
    await until('a file that is being sealed', async () =>
      (await readdir(folder, { recursive: true })).some((name) => name.endsWith('.sealing')),
    )
    await trouble.kill('gw1')
    t.match(await dying, { code: 0 })
    t.equal(provider.seen.length, before)
    t.same(await trouble.leaks(mail), [], 'what lies in the file is sealed')
    await comeBack()
    t.match((await retry(mail, { ports: [first] })).at(-1), { code: 250 })
    t.equal(trouble.copies(mail, bob).length, 1)
  })

  await t.test('while the provider is half through the content: no double', async (t) => {
    const mail = letter([bob], { size: 3_000_000 })
    killAt('content')
    t.match(await attempt(first, mail), { code: 0 })
    await comeBack()
    t.match((await retry(mail, { ports: [first] })).at(-1), { code: 250 })
    t.equal(trouble.copies(mail, bob).length, 1)
    t.same(await trouble.leaks(mail), [])
  })

  await t.test('after the dot, before it hears the answer: the one place where a double may come', async (t) => {
    const mail = letter([bob])
    killAt('answer')
    t.match(await attempt(first, mail), { code: 0 })
    t.equal(trouble.copies(mail, bob).length, 1)
    await comeBack()
    t.match((await retry(mail, { ports: [first] })).at(-1), { code: 250 })
    const copies = trouble.copies(mail, bob)
    t.equal(copies.length, 2)
    t.same(
      new Set(copies.map(({ octets }) => linkIn(octets))).size,
      1,
      'both are of one envelope: opening either is opening it',
    )
  })

  const pairs: readonly (readonly [string, readonly [string, string]])[] = [
    ['between two deliveries of sealed mail under different terms', [bob, eve]],
    ['between a delivery in clear and a sealed one', [bert, eve]],
  ]
  for (const [name, to] of pairs) {
    await t.test(`${name}: the retry serves only who was not served`, async (t) => {
      const mail = letter(to)
      killAt('mail', 2)
      t.match(await attempt(first, mail), { code: 0 })
      t.same(to.map((one) => trouble.copies(mail, one).length).toSorted(), [0, 1], 'one has it')
      await comeBack()
      t.match((await retry(mail, { ports: [first] })).at(-1), { code: 250 })
      for (const one of to) t.equal(trouble.copies(mail, one).length, 1, one)
      t.notOk(readsClear(trouble, mail, eve), 'who was to get it sealed got it sealed')
      if (!to.includes(bert)) return
      t.ok(readsClear(trouble, mail, bert), 'and a colleague reads it')
      t.same(
        await trouble.leaks(mail),
        ['the provider'],
        'which shows that what these tests look for is found where it is',
      )
    })
  }

  await t.test('the retry comes through another gateway: it waits for the lease of the dead one', async (t) => {
    const mail = letter([bob, eve])
    killAt('mail', 2)
    t.match(await attempt(first, mail), { code: 0 })
    provider.play(null)
    const attempts = await retry(mail, { ports: [second], every: 500, within: 25_000 })
    t.match(attempts[0], { code: 451, said: /another attempt/ })
    t.match(attempts.at(-1), { code: 250 })
    for (const one of mail.to) t.equal(trouble.copies(mail, one).length, 1, one)
    t.same(await trouble.leaks(mail), [])
    await trouble.start('gw1')
  })

  await t.test('a client gives up and comes through another gateway while the first still delivers', async (t) => {
    const mail = letter([bob])
    let answer = () => {}
    const answered = new Promise<undefined>((resolve) => {
      answer = () => resolve(undefined)
    })
    let slow = true
    provider.play(({ phase }) => (phase === 'answer' && slow ? answered : undefined))
    const gaveUp = await attempt(first, mail, 1_000)
    t.match(gaveUp, { code: 0, said: 'no answer in time' })
    t.match(await attempt(second, mail), { code: 451, said: /another attempt/ })
    t.match(await attempt(first, mail), { code: 451, said: /another attempt/ }, 'the first says the same')
    slow = false
    answer()
    t.match((await retry(mail, { ports: [second, first] })).at(-1), { code: 250, said: /earlier attempt/ })
    t.equal(trouble.copies(mail, bob).length, 1)
    provider.play(null)
  })

  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '')
})

async function halfIn(port: number, mail: Letter): Promise<Dialogue> {
  const dialogue = await openDialogue(port)
  for (const line of [`MAIL FROM:<${mail.from}>`, `RCPT TO:<${mail.to[0]}>`, 'DATA']) await dialogue.say(line)
  dialogue.write(mail.octets.subarray(0, 3_000_000))
  return dialogue
}

/** What the open files of a process hold that are no sockets, devices or the like. */
function openFiles(pid: number): { readonly name: string; readonly octets: Buffer }[] {
  const folder = `/proc/${pid}/fd`
  return readdirSync(folder).flatMap((fd) => {
    const name = readlinkSync(join(folder, fd))
    return /^\/(?!dev\/|proc\/)/.test(name) ? [{ name, octets: readFileSync(join(folder, fd)) }] : []
  })
}

function readsClear(trouble: Trouble, mail: Letter, recipient: string): boolean {
  return trouble.copies(mail, recipient).some(({ octets }) => octets.includes(mail.canary))
}

function linkIn(octets: Buffer): string {
  return /\/m\/[\w-]{22}/.exec(octets.toString('latin1'))?.[0] ?? ''
}
