import { parseArgs } from 'node:util'
import { postfixAbsent } from '../scenarios/postfix.ts'
import { createChance } from './chance.ts'
import { faultsOf, playRound, type Round, type RoundOptions } from './round.ts'

const USAGE = `npm run soak -- [--kills n] [--seed n] [--round n]
  --kills  how often a gateway, the key server or the provider is killed in all (default 300)
  --seed   for the same chances again (default: by the clock); times differ all the same
  --round  kills in a round, each with a house of its own (default 25)

Exit status: 0 where nothing was lost, no copy is unexplained and no word was seen; 1 where something was; 2 if it could not run.`

/** One after another, over and over. */
const DAYS: readonly Pick<RoundOptions, 'provider' | 'delivery'>[] = [
  { provider: 'unkind', delivery: 'inline' },
  { provider: 'postfix', delivery: 'inline' },
  { provider: 'unkind', delivery: 'spool' },
  { provider: 'slow', delivery: 'inline' },
  { provider: 'postfix', delivery: 'spool' },
]

type Options = { readonly kills: number; readonly seed: number; readonly perRound: number }

/** Throws where it cannot be read. */
function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: { kills: { type: 'string' }, seed: { type: 'string' }, round: { type: 'string' } },
  })
  const kills = Number(values.kills ?? 300)
  const seed = Number(values.seed ?? Date.now() % 1_000_000)
  const perRound = Number(values.round ?? 25)
  const whole = [kills, seed, perRound].every((number) => Number.isInteger(number) && number >= 0)
  if (!whole || kills === 0 || perRound === 0) throw new Error('--kills, --seed and --round take whole numbers')
  return { kills, seed, perRound }
}

const say = (line: string) => process.stdout.write(`${line}\n`)

async function soak({ kills, seed, perRound }: Options, ending: Ending): Promise<number> {
  const absent = postfixAbsent()
  if (absent !== false) say(`${absent.replace(': skipped', '')}: its rounds have a provider of ours`)
  say(`${kills} kills, seed ${seed}`)
  const chance = createChance(seed)
  const rounds: Round[] = []
  const faults: string[] = []
  let killed = 0
  for (let number = 1; killed < kills; number++) {
    const day = dayOf(number, absent === false)
    const begun = Date.now()
    const wanted = Math.min(perRound, kills - killed)
    const round = await played({ ...day, kills: wanted, pause: 3_000, longest: 8_000 * wanted, chance }, ending)
    const found = typeof round === 'string' ? [`it could not be played to its end: ${round}`] : faultsOf(round)
    if (typeof round !== 'string') rounds.push(round)
    killed += typeof round === 'string' ? wanted : round.kills.length
    faults.push(...found)
    const seconds = Math.round((Date.now() - begun) / 1000)
    const said = typeof round === 'string' ? 'broken off' : told([round])
    say(
      `round ${number} (${day.provider}, ${day.delivery}): ${said}; faults ${found.length}; ${seconds} s; ${killed} of ${kills}`,
    )
    for (const fault of found) say(`  ${fault}`)
  }
  say('')
  say(`in all: ${told(rounds)}`)
  say(`words of a letter on a disk or at the provider: ${rounds.flatMap(({ leaks }) => leaks).length}`)
  say(faults.length === 0 ? 'nothing is wrong' : `${faults.length} faults, seed ${seed}`)
  return faults.length === 0 ? 0 : 1
}

function dayOf(number: number, withPostfix: boolean): (typeof DAYS)[number] {
  const day = DAYS[(number - 1) % DAYS.length] ?? { provider: 'unkind', delivery: 'inline' }
  return day.provider === 'postfix' && !withPostfix ? { ...day, provider: 'unkind' } : day
}

/** Everything of the round ends with it, whatever happened. A text says why it broke off: somebody who did not come back is a fault too. */
async function played(options: RoundOptions, ending: Ending): Promise<Round | string> {
  try {
    return await playRound(ending, options)
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause)
  } finally {
    await ending.end()
  }
}

type Ending = { teardown(act: () => Promise<void>): void; end(): Promise<void> }

function createEnding(): Ending {
  const acts: (() => Promise<void>)[] = []
  return {
    teardown: (act) => void acts.push(act),
    async end() {
      for (const act of acts.splice(0).reverse()) await act()
    },
  }
}

function told(rounds: readonly Round[]): string {
  const sum = (of: (round: Round) => number) => rounds.reduce((total, round) => total + of(round), 0)
  const of = (victim: string) => sum(({ kills }) => kills.filter((kill) => kill.victim.startsWith(victim)).length)
  return [
    `${sum(({ kills }) => kills.length)} kills (gateways ${of('gw')}, key server ${of('keyserver')}, provider ${of('provider')})`,
    `${sum(({ letters }) => letters)} letters in ${sum(({ attempts }) => attempts.length)} attempts`,
    `accepted ${sum(({ ledger }) => ledger.accepted)}`,
    `refused ${sum(({ ledger }) => ledger.refused)}`,
    `arrived ${sum(({ ledger }) => ledger.arrived)}`,
    `bounced ${sum(({ ledger }) => ledger.bounced)}`,
    `lost ${sum(({ ledger }) => ledger.lost.length)}`,
    `doubles ${sum(({ ledger }) => ledger.doubles)} (answer cut off ${sum(({ ledger }) => ledger.cutOff)}, killed ${sum(({ ledger }) => ledger.killed)}, unexplained ${sum(({ ledger }) => ledger.unexplained.length)})`,
  ].join(', ')
}

const ending = createEnding()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void ending.end().finally(() => process.exit(130)))
}
try {
  process.exitCode = await soak(readOptions(process.argv.slice(2)), ending)
} catch (cause) {
  process.stderr.write(`${cause instanceof Error ? cause.message : String(cause)}\n\n${USAGE}\n`)
  process.exitCode = 2
}
