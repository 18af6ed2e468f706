import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measureAccepting } from './accepting.ts'
import { type Figure, tableOf } from './figure.ts'
import { measureKeyserver } from './keyserver.ts'
import { measureLatency } from './latency.ts'
import { describeMachine, machineInWords } from './machine.ts'
import { measureMemory } from './memory.ts'
import { measureOpening } from './opening.ts'
import { measureRelay } from './relay.ts'
import { createResults, type Line } from './results.ts'

const PARTS = ['relay', 'latency', 'accepting', 'memory', 'keyserver', 'reader'] as const
type Part = (typeof PARTS)[number]

const USAGE = `npm run bench -- [--quick] [--rounds n] [--only ${PARTS.join(',')}] [--case <how a relay case's name begins>] [--profile <folder>]
  --quick     one round, fewer mails: to see that it runs, not to quote from
  --profile   processor profiles of every process, as .cpuprofile files in that folder`

type Options = {
  readonly rounds: number
  readonly quick: boolean
  readonly parts: readonly Part[]
  readonly case: string
}

function readOptions(args: readonly string[]): Options & { readonly profile: string | null } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      only: { type: 'string' },
      case: { type: 'string', default: '' },
      profile: { type: 'string' },
    },
  })
  const parts = values.only === undefined ? PARTS : PARTS.filter((part) => values.only?.split(',').includes(part))
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3))
  if (parts.length === 0 || !Number.isInteger(rounds) || rounds < 1) throw new Error(USAGE)
  return { rounds, quick: values.quick, parts, case: values.case, profile: values.profile ?? null }
}

async function measure(part: Part, options: Options, keep: (line: Line) => void): Promise<Figure[]> {
  const { rounds, quick } = options
  switch (part) {
    case 'relay':
      return measureRelay({ rounds, quick, say, keep, only: options.case })
    case 'latency':
      return measureLatency({ rounds, quick, say })
    case 'accepting':
      return measureAccepting({ rounds, quick, say })
    case 'memory':
      return measureMemory({ rounds, say })
    case 'keyserver':
      return measureKeyserver({ rounds, quick, say, keep })
    case 'reader':
      return measureOpening({ openings: quick ? 7 : 15, say })
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  // Read by every Node that is started from here on; this process has begun without.
  if (options.profile !== null) process.env.NODE_OPTIONS = `--cpu-prof --cpu-prof-dir=${options.profile}`
  const machine = await describeMachine()
  const at = new Date().toISOString()
  const file = join(import.meta.dirname, 'results', `${at.slice(0, 10)}.jsonl`)
  const { keep } = createResults(file)
  const command = ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' ')
  keep({ kind: 'head', at, command, rounds: options.rounds, ...machine })
  say(machineInWords(machine))
  const figures: Figure[] = []
  for (const part of options.parts) {
    const measured = await measure(part, options, keep)
    for (const figure of measured) keep({ kind: 'figure', ...figure })
    figures.push(...measured)
  }
  process.stdout.write(`${tableOf(figures)}\n\n${command}\n${machineInWords(machine)}\n`)
  say(`Lines: ${file}. Drawn by: node bench/plot.ts ${file}`)
}

try {
  await main()
} catch (cause) {
  process.stderr.write(`bench: ${cause instanceof Error ? cause.message : String(cause)}\n`)
  process.exitCode = 1
}
