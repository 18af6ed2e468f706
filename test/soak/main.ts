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

async function soak({ kills, seed, perRound }: Options): Promise<number> {
  const absent = postfixAbsent()
  if (absent !== false) say(`${absent.replace(': skipped', '')}: its rounds have a provider of ours`)
  const days = DAYS.map((day) =>
    day.provider === 'postfix' && absent !== false ? { ...day, provider: 'unkind' as const } : day,
  )
  say(`${kills} kills, seed ${seed}`)
  const chance = createChance(seed)
  const rounds: Round[] = []
  const faults: string[] = []
  for (let killed = 0; killed < kills; ) {
    const day = days[rounds.length % days.length]
    if (day === undefined) break
    const begun = Date.now()
    const wanted = Math.min(perRound, kills - killed)
    const round = await played({ ...day, kills: wanted, pause: 3_000, longest: 8_000 * wanted, chance })
    killed += round.kills.length
    rounds.push(round)
    const found = faultsOf(round)
    faults.push(...found)
    say(
      `round ${rounds.length} (${day.provider}, ${day.delivery}): ${told([round])}; ${found.length} faults; ${Math.round((Date.now() - begun) / 1000)} s; ${killed} of ${kills} kills`,
    )
    for (const fault of found) say(`  ${fault}`)
    if (round.kills.length === 0) break
  }
  say('')
  say(`in all: ${told(rounds)}`)
  say(`words of a letter on a disk or at the provider: ${rounds.flatMap(({ leaks }) => leaks).length}`)
  say(faults.length === 0 ? 'nothing is wrong' : `${faults.length} faults, seed ${seed}`)
  return faults.length === 0 ? 0 : 1
}

/** Everything of the round ends with it, whatever happened. */
async function played(options: RoundOptions): Promise<Round> {
  const endings: (() => Promise<void>)[] = []
  try {
    return await playRound({ teardown: (act) => endings.push(act) }, options)
  } finally {
    for (const end of endings.reverse()) await end()
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

try {
  process.exitCode = await soak(readOptions(process.argv.slice(2)))
} catch (cause) {
  // What failed is the machine's or the asker's, such as a port or an option; what a round finds is no error.
  process.stderr.write(`${cause instanceof Error ? cause.message : String(cause)}\n\n${USAGE}\n`)
  process.exitCode = 2
}
