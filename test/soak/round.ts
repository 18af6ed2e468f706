import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { FlakyProvider } from '../scenarios/flaky-provider.ts'
import type { Attempt } from '../scenarios/retrying-client.ts'
import { PHRASE } from '../scenarios/retrying-client.ts'
import { openTrouble, type Trouble, until } from '../scenarios/trouble.ts'
import type { Chance } from './chance.ts'
import { type Kill, type Killing, killAround } from './killing.ts'
import { deliveriesAfterSent, type Ledger, ledgerOf } from './ledger.ts'
import { type Handed, handIn } from './load.ts'
import { type PostfixBehindWire, startPostfixBehindWire } from './postfix-behind-wire.ts'
import { GONE, slow, unkind } from './unkind.ts'

const CLIENTS = 20
/** After the last kill; a lease of a dead gateway lasts fifteen seconds here. */
const PATIENCE = 60_000

/** `slow`: it answers late and well. `unkind`: it stalls, refuses and drops. `postfix`: a Postfix behind a wire that stalls and drops. */
export type ProviderKind = 'slow' | 'unkind' | 'postfix'

export type RoundOptions = Killing & {
  readonly provider: ProviderKind
  readonly delivery: 'inline' | 'spool'
  readonly chance: Chance
}

export type Round = {
  readonly kills: readonly Kill[]
  readonly letters: number
  readonly attempts: readonly Attempt[]
  readonly ledger: Ledger
  /** Mails that still lay in a spool at the end. */
  readonly waiting: readonly string[]
  /** Where a word of a letter could be read. */
  readonly leaks: readonly string[]
  /** Envelopes that the log shows as delivered once more after they were sent. */
  readonly servedTwice: readonly string[]
  /** What `audit verify` complains of; '' for nothing. */
  readonly log: string
}

type Ending = { teardown(act: () => Promise<void>): unknown }

/** A house of its own under load, in which everybody is killed now and then; and the account of all that went in. */
export async function playRound(ending: Ending, options: RoundOptions): Promise<Round> {
  const { chance } = options
  const postfix = options.provider === 'postfix' ? await startPostfixBehindWire(chance) : null
  if (postfix !== null) ending.teardown(() => postfix.stop())
  const trouble = await openTrouble(ending, {
    gateway: { limits: { budgetSeconds: 5 }, spool: { retrySeconds: 1, retryMostSeconds: 2 } },
    spools: options.delivery === 'spool',
    ...(postfix === null ? {} : { provider: postfix as FlakyProvider }),
  })
  await trouble.start('keyserver', 'gw1', 'gw2')
  trouble.provider.play(options.provider === 'unkind' ? unkind(chance) : slow(chance))
  const clock = { over: false, deadline: Number.POSITIVE_INFINITY }
  const ports = [trouble.first, trouble.second]
  const clients = Array.from({ length: CLIENTS }, () => handIn(ports, recipientsFor(options.provider), chance, clock))
  const kills = await killAround(trouble, chance, options)
  clock.over = true
  clock.deadline = Date.now() + PATIENCE
  const handed = (await Promise.all(clients)).flat()
  // Some days end: what was put off gets through.
  if (options.provider === 'unkind') trouble.provider.play(({ phase, line }) => refusesGone(phase, line))
  const waiting = await emptied(trouble, postfix)
  return { ...(await accountOf(trouble, handed, kills)), waiting }
}

function refusesGone(phase: string, line: string): string | undefined {
  return phase === 'rcpt' && line.includes(GONE) ? '550 5.1.1 no such user' : undefined
}

function recipientsFor(provider: ProviderKind): readonly (readonly string[])[] {
  const [bob, eve] = ['bob@example.org', 'eve@example.net']
  const good = [[bob], [bob], [bob], [bob], [bob], [bob], [bob], [bob, eve], [bob, eve], [bob, eve]]
  return provider === 'slow' ? good : [...good, [bob, GONE], [GONE]]
}

/** What is still in the spools when they should be empty. */
async function emptied(trouble: Trouble, postfix: PostfixBehindWire | null): Promise<string[]> {
  const spooled = async () => {
    const folders = ['gw1', 'gw2'].map((name) => readdir(join(trouble.house.folder, name, 'spool')))
    return (await Promise.all(folders)).flat()
  }
  const empty = async () => (await spooled()).length === 0 && (postfix?.waiting() ?? 0) === 0
  await until('the spools are empty', empty, PATIENCE).catch(() => undefined)
  return [...(await spooled()), ...(postfix === null || postfix.waiting() === 0 ? [] : ['in Postfix'])]
}

async function accountOf(
  trouble: Trouble,
  handed: readonly Handed[],
  kills: readonly Kill[],
): Promise<Omit<Round, 'waiting'>> {
  const ledger = ledgerOf(trouble, handed, kills)
  const leaks = await trouble.leaks({ canary: PHRASE })
  await trouble.stop('keyserver')
  return {
    ...{ kills, letters: handed.length, attempts: handed.flatMap((one) => one.attempts), ledger, leaks },
    servedTwice: deliveriesAfterSent(trouble),
    log: await trouble.verify(),
  }
}

/** What must not be in a round, one sentence each. */
export function faultsOf({ ledger, waiting, leaks, servedTwice, log }: Round): string[] {
  return [
    ...ledger.lost.map((letter) => `lost: ${letter}`),
    ...ledger.unexplained.map((copy) => `delivered again although nobody died: ${copy}`),
    ...(ledger.unanswered === 0 ? [] : [`${ledger.unanswered} letters had no final answer in the end`]),
    ...(waiting.length === 0 ? [] : [`${waiting.length} mails still wait: ${waiting.slice(0, 5).join(', ')}`]),
    ...leaks.map((place) => `words of a letter can be read: ${place}`),
    ...servedTwice.map((envelope) => `the log shows a delivery after it was sent: ${envelope}`),
    ...(log === '' ? [] : [`the log does not verify: ${log.trim().split('\n', 1)[0]}`]),
  ]
}
