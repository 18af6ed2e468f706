import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Kept } from './flaky-provider.ts'
import { type Attempt, attempt, type Letter, letter, PHRASE } from './retrying-client.ts'
import { openTrouble, type ProcessName, type Trouble, until } from './trouble.ts'

const KILLS = 30
const CLIENTS = 20
/** For all kills; on a slow machine there are fewer. */
const LONGEST = 40_000
/** Between the provider's keeping a mail and the durable note of its answer, at worst; and how long a killed key server is away. */
const NOTED = 2_000
const AWAY = 8_000
/** After the last kill; a lease of a dead gateway lasts fifteen seconds here. */
const PATIENCE = 30_000

type Victim = ProcessName | 'provider'
/** Between `at` and `until` it died. */
type Kill = { readonly victim: Victim; readonly at: number; readonly until: number }
type Handed = { readonly letter: Letter; readonly attempts: readonly Attempt[] }

t.test('thirty kills under load: every mail with a 250 arrived, once, or a kill says why twice', async (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = generator(seed)
  const trouble = await openTrouble(t, {
    gateway: { limits: { budgetSeconds: 5 }, spool: { retrySeconds: 1, retryMostSeconds: 2 } },
  })
  await trouble.start('keyserver', 'gw1', 'gw2')
  // Widens the moments in which a kill hurts.
  trouble.provider.play(async ({ phase }) => {
    if (phase === 'answer' || phase === 'data') await sleep(random() * 60)
    return undefined
  })
  const clock = { over: false, deadline: Number.POSITIVE_INFINITY }
  const clients = Array.from({ length: CLIENTS }, () => handIn(trouble, random, clock))
  const kills = await killAround(trouble, random)
  clock.over = true
  clock.deadline = Date.now() + PATIENCE
  const handed = (await Promise.all(clients)).flat()

  const attempts = handed.flatMap((one) => one.attempts)
  t.comment(`${handed.length} mails in ${attempts.length} attempts, ${kills.length} kills`)
  t.ok(kills.length >= KILLS / 2, 'it was a bad day')
  t.ok(handed.length > 2 * CLIENTS, 'there was load')
  t.ok(attempts.filter(({ code }) => code !== 250).length > KILLS, 'and the kills hurt')
  t.same(
    attempts.filter(({ code }) => code >= 500),
    [],
    'nobody was refused for good',
  )
  t.same(
    handed.filter((one) => one.attempts.at(-1)?.code !== 250).map((one) => one.attempts.at(-1)),
    [],
    'every client got its 250 in the end',
  )
  // What a gateway answered 250 without the provider's answer lies in its spool until it knows.
  await until('the spools are empty', async () => (await spooled(trouble)).length === 0, PATIENCE).catch(
    () => undefined,
  )
  t.same(await spooled(trouble), [], 'nothing waits any more')
  const copies = handed.flatMap((one) => one.letter.to.map((to) => trouble.copies(one.letter, to)))
  t.equal(copies.filter((kept) => kept.length === 0).length, 0, 'nothing is lost')
  const doubled = copies.filter((kept) => kept.length > 1)
  t.comment(`${doubled.length} doubles`)
  for (const kept of doubled) {
    const unexplained = kept.slice(0, -1).filter((copy) => !isExplained(copy, kills))
    t.same(unexplained.map(tell), [], 'each copy but the last was followed by a kill of who carried or kept it')
    t.equal(new Set(kept.map(({ octets }) => /\/m\/[\w-]{22}/.exec(octets.toString('latin1'))?.[0])).size, 1)
  }
  t.same(await trouble.leaks({ canary: PHRASE }), [], 'and nobody saw a word')

  await trouble.stop('keyserver')
  t.same(deliveriesAfterSent(trouble), [], 'in the log, nobody is served again whose copy is known to be sent')
  t.equal(await trouble.verify(), '')
})

/** The files in the spools of both gateways. */
async function spooled({ house }: Trouble): Promise<string[]> {
  const folders = ['gw1', 'gw2'].map((name) => readdir(join(house.folder, name, 'spool')))
  return (await Promise.all(folders)).flat()
}

/** One client: letter after letter, each until it has its 250, through whichever gateway. */
async function handIn(
  trouble: Trouble,
  random: () => number,
  clock: { readonly over: boolean; readonly deadline: number },
): Promise<Handed[]> {
  const handed: Handed[] = []
  while (!clock.over) {
    const to = random() < 0.7 ? ['bob@example.org'] : ['bob@example.org', 'eve@example.net']
    const mail = letter(to, { size: random() < 0.1 ? 1_500_000 : random() * 60_000 })
    const attempts: Attempt[] = []
    do {
      const port = random() < 0.5 ? trouble.first : trouble.second
      attempts.push(await attempt(port, mail, 8_000))
      await sleep(100 + random() * 400)
    } while (attempts.at(-1)?.code !== 250 && Date.now() < clock.deadline)
    handed.push({ letter: mail, attempts })
    await sleep(random() * 1_000)
  }
  return handed
}

/** Kills whoever is up, at any moment, also while others are still coming back. */
async function killAround(trouble: Trouble, random: () => number): Promise<Kill[]> {
  const shares: readonly Victim[] = ['gw1', 'gw1', 'gw2', 'gw2', 'keyserver', 'provider']
  const kills: Kill[] = []
  const coming = new Map<Victim, Promise<void>>()
  const end = Date.now() + LONGEST
  while (kills.length < KILLS && Date.now() < end) {
    await sleep(random() * 2_000)
    const up = shares.filter((one) => !coming.has(one))
    const victim = up[Math.floor(random() * up.length)]
    if (victim === undefined) continue
    const at = Date.now()
    await (victim === 'provider' ? trouble.provider.kill() : trouble.kill(victim))
    kills.push({ victim, at, until: Date.now() })
    const back = victim === 'provider' ? sleep(300).then(trouble.provider.start) : trouble.start(victim)
    coming.set(
      victim,
      back.finally(() => coming.delete(victim)),
    )
  }
  await Promise.all(coming.values())
  return kills
}

/**
 * Whether its gateway or the provider died after this copy was kept, and before the answer to it can have been noted: soon after, or
 * somewhat later where the key server was away.
 */
function isExplained(copy: Kept, kills: readonly Kill[]): boolean {
  const carrier = carrierOf(copy)
  const away = kills.some(({ victim, at }) => victim === 'keyserver' && at > copy.at - AWAY && at < copy.at + NOTED)
  const noted = copy.at + NOTED + (away ? AWAY : 0)
  return kills.some(
    ({ victim, at, until }) => (victim === carrier || victim === 'provider') && until >= copy.at && at <= noted,
  )
}

function carrierOf({ octets }: Kept): string {
  return /\bby (gw[12])\.acme\.example\b/.exec(octets.toString('latin1'))?.[1] ?? ''
}

function tell(copy: Kept): string {
  return `${new Date(copy.at).toISOString()} through ${carrierOf(copy)}, ${copy.answered ? '' : 'not '}answered`
}

/** Envelopes whose recipient was named in a confirm after an outcome said that it was sent. */
function deliveriesAfterSent(trouble: Trouble): string[] {
  const sent = new Set<string>()
  return trouble.records().flatMap((record) => {
    if (record.kind === 'outcome' && record.outcome === 'sent') sent.add(record.envelope + record.recipient.pseudonym)
    if (record.kind !== 'confirmed') return []
    return record.recipients.some((one) => sent.has(record.envelope + one.pseudonym)) ? [record.envelope] : []
  })
}

/** Mulberry32: numbers from 0 up to 1, the same for the same seed. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
