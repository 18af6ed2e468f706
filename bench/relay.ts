import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runProgram } from './child.ts'
import type { Figure } from './figure.ts'
import { noPostfix, type Postfix, startPostfix } from './postfix.ts'
import { checkSealed } from './precheck.ts'
import { type Sink, startSink } from './sink.ts'
import type { Sent } from './source.ts'
import { openStand, type Stand } from './stand.ts'
import { latencyOf, median, round } from './statistics.ts'

/** Messages per second that are sealed, delivered and counted at the sink, in turns with Postfix relaying the same untouched. */

type Case = {
  readonly name: string
  readonly size: number
  readonly connections: number
  readonly keep: boolean
  readonly count: number
  readonly quickCount: number
  /** Of Postfix's rate. */
  readonly target: number | null
  /** Over a gateway that leaves large envelopes in its store and mails the link alone. */
  readonly byLink: boolean
}

const kept = { connections: 20, keep: true, target: null, byLink: false }
const few = { connections: 4, keep: true, target: null, byLink: false }
const cases: readonly Case[] = [
  { ...kept, name: '10 KB, 20 kept connections', size: 10_000, count: 4000, quickCount: 1000, target: 0.6 },
  { ...kept, name: '75 KB, 20 kept connections', size: 75_000, count: 2000, quickCount: 400 },
  { ...kept, name: '10 KB, a connection each', keep: false, size: 10_000, count: 3000, quickCount: 600, target: 0.6 },
  { ...few, name: '5 MB, 4 kept connections', size: 5_000_000, count: 60, quickCount: 12 },
  { ...few, name: '25 MB, 4 kept connections', size: 25_000_000, count: 20, quickCount: 8 },
  { ...few, name: '25 MB, 4 kept, by link', size: 25_000_000, count: 20, quickCount: 8, byLink: true },
]

/** One turn: what went through one relay, and how fast. */
export type Turn = {
  readonly kind: 'turn'
  readonly case: string
  readonly relay: 'sealpost' | 'postfix'
  readonly round: number
  readonly count: number
  /** From the first command until the sink had the last one. */
  readonly seconds: number
  readonly perSecond: number
  /** Of one mail, from its first command to the relay's answer, ms. */
  readonly p50: number
  readonly p99: number
}

export type RelayOptions = {
  readonly rounds: number
  readonly quick: boolean
  readonly say: (line: string) => void
  readonly keep: (turn: Turn) => void
  /** Only the cases whose name begins so; all where it is empty. */
  readonly only: string
}

type Relays = { readonly sealpost: number; readonly link: number; readonly postfix: number | null }

export async function measureRelay(options: RelayOptions): Promise<Figure[]> {
  const stand = await openStand()
  const why = noPostfix()
  if (why !== null) options.say(why)
  let postfix: Postfix | null = null
  let sink: Sink | null = null
  try {
    await stand.startGateway()
    await stand.startLinkGateway()
    postfix = why === null ? await openPostfix(stand) : null
    await checkSealed(stand, postfix?.port ?? null)
    options.say('Looked: what reaches the provider through the gateway is sealed, through Postfix it is as it was.')
    sink = await startSink(stand.sinkPort)
    const relays = { sealpost: stand.gatewayPort, link: stand.linkGatewayPort, postfix: postfix?.port ?? null }
    return await takeTurns(relays, sink, options)
  } finally {
    await sink?.stop()
    await postfix?.stop()
    await stand.stop()
  }
}

async function openPostfix(stand: Stand): Promise<Postfix> {
  const folder = join(stand.folder, 'postfix')
  await mkdir(folder, { mode: 0o755 })
  return startPostfix(folder, stand.postfixPort, stand.sinkPort)
}

async function takeTurns(relays: Relays, sink: Sink, options: RelayOptions): Promise<Figure[]> {
  const wanted = cases.filter((one) => one.name.startsWith(options.only))
  for (const port of Object.values(relays)) if (port !== null) await warmUp(port, sink)
  const turns: Turn[] = []
  for (let number = 1; number <= options.rounds; number++) {
    for (const one of wanted) {
      for (const relay of ['sealpost', 'postfix'] as const) {
        const ours = one.byLink ? relays.link : relays.sealpost
        const port = relay === 'postfix' ? relays.postfix : ours
        if (port === null) continue
        const turn = { ...(await takeTurn(one, port, sink, options.quick)), relay, round: number }
        turns.push(turn)
        options.keep(turn)
        options.say(`${relay.padEnd(8)} ${one.name}, round ${number}: ${turn.perSecond}/s`)
      }
    }
  }
  return wanted.map((one) => figureOf(one, turns))
}

/** Connections are made, code is compiled, today's keys exist. */
async function warmUp(port: number, sink: Sink): Promise<void> {
  const before = sink.count()
  const args = ['--port', `${port}`, '--count', '500', '--size', '10000', '--connections', '20', '--keep']
  const { taken } = await runProgram<Sent>('source.ts', args, 60)
  await sink.reached(before + taken)
}

async function takeTurn(one: Case, port: number, sink: Sink, quick: boolean): Promise<Omit<Turn, 'relay' | 'round'>> {
  const before = sink.count()
  const count = quick ? one.quickCount : one.count
  const numbers = ['--port', `${port}`, '--count', `${count}`, '--size', `${one.size}`]
  const args = [...numbers, '--connections', `${one.connections}`, ...(one.keep ? ['--keep'] : [])]
  const sent = await runProgram<Sent>('source.ts', args, 300)
  if (sent.refused > 0) throw new Error(`${sent.refused} of ${count} mails were refused: ${sent.firstRefusal}`)
  const end = await sink.reached(before + count)
  await sleep(200)
  if (sink.count() !== before + count) throw new Error(`${count} mails went in, ${sink.count() - before} came out`)
  const seconds = (end - sent.begin) / 1000
  const { p50, p99 } = latencyOf(sent.times)
  return { kind: 'turn', case: one.name, count, seconds: round(seconds), perSecond: round(count / seconds), p50, p99 }
}

function figureOf(one: Case, turns: readonly Turn[]): Figure {
  const of = (relay: Turn['relay']) => turns.filter((turn) => turn.case === one.name && turn.relay === relay)
  const rate = (relay: Turn['relay']) => median(of(relay).map((turn) => turn.perSecond))
  const time = (what: 'p50' | 'p99') => round(median(of('sealpost').map((turn) => turn[what])))
  return {
    name: one.name,
    unit: '/s',
    ours: rate('sealpost'),
    postfix: of('postfix').length === 0 ? null : rate('postfix'),
    target: one.target === null ? null : { of: 'ratio', kind: 'least', value: one.target },
    note: `a mail takes ${time('p50')} ms, 99 of 100 under ${time('p99')} ms`,
  }
}
