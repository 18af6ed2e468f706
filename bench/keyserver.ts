import { join } from 'node:path'
import type { Called } from './callers.ts'
import { runProgram } from './child.ts'
import type { Figure } from './figure.ts'
import type { Rate } from './issuing.ts'
import { openStand } from './stand.ts'
import { median, round } from './statistics.ts'

/** Issues and releases per second at a key server with the log durable, the callers in a process of their own. */

export type KeyserverOptions = {
  readonly rounds: number
  readonly quick: boolean
  readonly say: (line: string) => void
  readonly keep: (called: Called & { readonly kind: 'called'; readonly round: number }) => void
}

export async function measureKeyserver(options: KeyserverOptions): Promise<Figure[]> {
  const rounds: Called[] = []
  for (let number = 1; number <= options.rounds; number++) {
    const called = await callOnce(options.quick)
    rounds.push(called)
    options.keep({ kind: 'called', round: number, ...called })
    const { issue, release, releaseAtRate } = called
    const words = `${issue.perSecond} issues/s, ${release.perSecond} releases/s, at 500/s p99 ${releaseAtRate.p99} ms`
    options.say(`key server, round ${number}: ${words}`)
  }
  return figuresOf(rounds)
}

/** A fresh key server each time, so that no round finds the last one's tables. */
async function callOnce(quick: boolean): Promise<Called> {
  const stand = await openStand()
  try {
    const { ports, origin, folder } = stand.house
    const places = ['--gateways', `https://localhost:${ports.gateways}`, '--origin', origin]
    const rest = ['--certs', join(folder, 'certs'), '--provider', `${stand.sinkPort}`]
    return await runProgram<Called>('callers.ts', [...places, ...rest, '--count', quick ? '1500' : '5000'], 240)
  } finally {
    await stand.stop()
  }
}

function figuresOf(rounds: readonly Called[]): Figure[] {
  const middle = (what: keyof Called, which: keyof Rate) => round(median(rounds.map((called) => called[what][which])))
  const times = (what: keyof Called) => `p50 ${middle(what, 'p50')} ms, p99 ${middle(what, 'p99')} ms`
  const rate = (what: keyof Called, name: string, least: number | null): Figure => ({
    name,
    unit: '/s',
    ours: middle(what, 'perSecond'),
    postfix: null,
    target: least === null ? null : { of: 'figure', kind: 'least', value: least },
    note: times(what),
  })
  return [
    rate('issue', 'issues, 32 in flight', null),
    rate('live', 'issue, confirmation and outcome, 32 in flight', null),
    rate('release', 'releases, 32 in flight', 500),
    {
      name: 'p99 of a release at 500/s',
      unit: 'ms',
      ours: middle('releaseAtRate', 'p99'),
      postfix: null,
      target: { of: 'figure', kind: 'most', value: 100 },
      note: `p50 ${middle('releaseAtRate', 'p50')} ms, counted from when each was due`,
    },
  ]
}
