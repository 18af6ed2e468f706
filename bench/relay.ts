import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Running } from '../cli/house.ts'
import { runProgram } from './child.ts'
import { cpuOfMachine, cpuOfTree } from './cpu.ts'
import type { Figure } from './figure.ts'
import { noPostfix, type Postfix, startPostfix } from './postfix.ts'
import { checkSealed } from './precheck.ts'
import { type Sink, startSink } from './sink.ts'
import type { Sent } from './source.ts'
import { openStand, type Stand } from './stand.ts'
import { latencyOf, median, round } from './statistics.ts'

/** Messages per second that are sealed, delivered and counted at the sink, by one gateway and by two, in turns with Postfix relaying the same untouched. */

type Case = {
  readonly name: string
  readonly size: number
  readonly connections: number
  readonly keep: boolean
  readonly count: number
  /** Mails of this kind through each relay before the clock runs, after the first thirty thousand of 10 KB. */
  readonly warm: number
  /** Of Postfix's rate, by as many gateways as help. */
  readonly target: number | null
  /** Over a gateway that leaves large envelopes in its store and mails the link alone. */
  readonly byLink: boolean
}

const kept = { connections: 20, keep: true, target: null, byLink: false }
const few = { connections: 4, keep: true, target: null, byLink: false }
const cases: readonly Case[] = [
  { ...kept, name: '10 KB, 20 kept connections', size: 10_000, warm: 0, count: 4000, target: 1.2 },
  { ...kept, name: '75 KB, 20 kept connections', size: 75_000, warm: 12_000, count: 2000, target: 1.1 },
  { ...kept, name: '10 KB, a connection each', keep: false, size: 10_000, warm: 6000, count: 3000, target: 1 },
  { ...few, name: '5 MB, 4 kept connections', size: 5_000_000, warm: 60, count: 60, target: 0.8 },
  { ...few, name: '25 MB, 4 kept connections', size: 25_000_000, warm: 12, count: 20, target: 0.8 },
  { ...few, name: '25 MB, 4 kept, by link', size: 25_000_000, warm: 12, count: 20, byLink: true },
]

/** What every relay is warmed up with first. */
const common = { ...kept, size: 10_000, warm: 30_000 }

type Kind = Pick<Case, 'size' | 'connections' | 'keep'>

type RelayName = 'sealpost' | 'two gateways' | 'postfix'

/** One turn: what went through one relay, and how fast. */
export type Turn = {
  readonly kind: 'turn'
  readonly case: string
  readonly relay: RelayName
  readonly round: number
  readonly count: number
  /** From the first command until the sink had the last one. */
  readonly seconds: number
  readonly perSecond: number
  /** Of one mail, from its first command to the relay's answer, ms. */
  readonly p50: number
  readonly p99: number
  /** Processor time of the relay for one mail, ms: gateway and key server, or all of Postfix. Says more than the rate on a busy machine. */
  readonly cpu: number
  /** Share of the machine's processor time that went to processes which are no part of this. */
  readonly others: number
}

export type RelayOptions = {
  readonly rounds: number
  readonly quick: boolean
  readonly say: (line: string) => void
  readonly keep: (turn: Turn) => void
  /** Only the cases whose name begins so; all where it is empty. */
  readonly only: string
}

/** Where it takes mail, and the roots of the processes that do its work. */
type Relay = { readonly name: RelayName; readonly ports: readonly number[]; readonly pids: readonly number[] }

type Bench = {
  readonly stand: Stand
  readonly sink: Sink
  readonly postfix: Relay | null
  readonly one: Relay
  /** The gateway beside the first: of the same kind, or one that sends links. */
  second: { readonly byLink: boolean; readonly running: Running }
}

export async function measureRelay(options: RelayOptions): Promise<Figure[]> {
  const stand = await openStand()
  const why = noPostfix()
  if (why !== null) options.say(why)
  let postfix: Postfix | null = null
  let sink: Sink | null = null
  try {
    const one = pidOf(await stand.startGateway())
    const second = { byLink: false, running: await stand.startSecondGateway() }
    postfix = why === null ? await openPostfix(stand) : null
    await checkSealed(stand, postfix?.port ?? null)
    options.say('Looked: what reaches the provider through the gateway is sealed, through Postfix it is as it was.')
    sink = await startSink(stand.sinkPort)
    const bench: Bench = {
      ...{ stand, sink, second },
      one: { name: 'sealpost', ports: [stand.gatewayPort], pids: [pidOf(stand.keyserver), one] },
      postfix: postfix === null ? null : { name: 'postfix', ports: [postfix.port], pids: [postfix.pid] },
    }
    return await takeTurns(bench, options)
  } finally {
    await sink?.stop()
    await postfix?.stop()
    await stand.stop()
  }
}

export async function openPostfix(stand: Stand): Promise<Postfix> {
  const folder = join(stand.folder, 'postfix')
  await mkdir(folder, { mode: 0o755 })
  return startPostfix(folder, stand.postfixPort, stand.sinkPort)
}

async function takeTurns(bench: Bench, options: RelayOptions): Promise<Figure[]> {
  const wanted = cases.filter((one) => one.name.startsWith(options.only))
  const postfix = bench.postfix === null ? [] : [bench.postfix]
  const fresh = [...bench.one.ports, ...postfix.flatMap(({ ports }) => ports), bench.stand.secondPort]
  for (const port of fresh) await warmUp(port, bench.sink)
  const turns: Turn[] = []
  for (const one of wanted) {
    const second = await besides(bench, one.byLink)
    for (const port of [...second.ports, ...postfix.flatMap(({ ports }) => ports)]) {
      if (one.warm > 0 && !options.quick) await warmUp(port, bench.sink, one)
      await bench.stand.emptyStores()
    }
    for (let number = 1; number <= options.rounds; number++) {
      for (const relay of [...(one.byLink ? [] : [bench.one]), second, ...postfix]) {
        const turn = await takeTurn(one, relay, bench.sink, options, number)
        // Postfix keeps nothing of what has left: neither do we let copies pile up until the machine looks for memory for them.
        await bench.stand.emptyStores()
        turns.push(turn)
        options.keep(turn)
        const { perSecond, cpu, others } = turn
        const words = `${perSecond}/s, ${cpu} ms of processor a mail; others had ${Math.round(others * 100)} % of the machine`
        options.say(`${relay.name.padEnd(12)} ${one.name}, round ${number}: ${words}`)
      }
    }
  }
  return [...wanted.map((one) => figureOf(one, turns)), ...wanted.flatMap((one) => scaleOf(one, turns))]
}

/** Two gateways, or the one that sends links: started anew where it is the other kind that runs. */
async function besides(bench: Bench, byLink: boolean): Promise<Relay> {
  const { stand, one, sink } = bench
  const port = stand.secondPort
  if (bench.second.byLink !== byLink) {
    await bench.second.running.stop()
    bench.second = { byLink, running: await (byLink ? stand.startLinkGateway() : stand.startSecondGateway()) }
    await warmUp(port, sink)
  }
  const pid = pidOf(bench.second.running)
  return byLink
    ? { name: 'sealpost', ports: [port], pids: [pidOf(stand.keyserver), pid] }
    : { name: 'two gateways', ports: [...one.ports, port], pids: [...one.pids, pid] }
}

/** Connections are made, today's keys exist, and code is compiled: V8 goes on with that for some thirty thousand mails, and again where they are of another size. */
export async function warmUp(port: number, sink: Sink, what: Kind & { readonly warm: number } = common): Promise<void> {
  const before = sink.count()
  const { taken } = await runProgram<Sent>('source.ts', sourceArgs([port], what.warm, what), 240)
  await sink.reached(before + taken)
}

function sourceArgs(ports: readonly number[], count: number, { size, connections, keep }: Kind): string[] {
  const kind = ['--size', `${size}`, '--connections', `${connections}`, ...(keep ? ['--keep'] : [])]
  return ['--port', ports.join(), '--count', `${count}`, ...kind]
}

async function takeTurn(one: Case, relay: Relay, sink: Sink, { quick }: RelayOptions, number: number): Promise<Turn> {
  const before = sink.count()
  const count = quick ? Math.ceil(one.count / 4) : one.count
  const since = usage(relay)
  const sent = await runProgram<Sent>('source.ts', sourceArgs(relay.ports, count, one), 300)
  if (sent.refused > 0) throw new Error(`${sent.refused} of ${count} mails were refused: ${sent.firstRefusal}`)
  const end = await sink.reached(before + count)
  const until = usage(relay)
  await sleep(200)
  if (sink.count() !== before + count) throw new Error(`${count} mails went in, ${sink.count() - before} came out`)
  const seconds = (end - sent.begin) / 1000
  const { p50, p99 } = latencyOf(sent.times)
  const [cpu, ours, busy, all] = until.map((value, i) => value - (since[i] ?? 0)) as [number, number, number, number]
  return {
    ...{ kind: 'turn', case: one.name, relay: relay.name, round: number, count },
    ...{ seconds: round(seconds), perSecond: round(count / seconds), p50, p99 },
    ...{ cpu: round(cpu / count), others: round(Math.max(0, busy - ours) / all) },
  }
}

/** Processor time so far, ms: the relay's, that of all that belongs to this, the machine's, and all that there was. */
function usage(relay: Relay): readonly [number, number, number, number] {
  const { busy, all } = cpuOfMachine()
  const own = relay.pids.reduce((sum, pid) => sum + cpuOfTree(pid), 0)
  // Postfix is nobody's child; everything else here is this process's.
  return [own, cpuOfTree(process.pid) + (relay.name === 'postfix' ? own : 0), busy, all]
}

function pidOf(running: Running): number {
  return running.child.pid ?? 0
}

function figureOf(one: Case, turns: readonly Turn[]): Figure {
  const of = (relay: RelayName) => turns.filter((turn) => turn.case === one.name && turn.relay === relay)
  const middle = (what: 'perSecond' | 'p99' | 'cpu', relay: RelayName) =>
    round(median(of(relay).map((turn) => turn[what])))
  const others = Math.round(median(turns.filter((turn) => turn.case === one.name).map((turn) => turn.others)) * 100)
  const words = (['sealpost', 'two gateways', 'postfix'] as const)
    .filter((relay) => of(relay).length > 0)
    .map(
      (relay) =>
        `${relay}: ${middle('perSecond', relay)}/s, ${middle('cpu', relay)} ms of processor a mail, p99 ${middle('p99', relay)} ms`,
    )
  const rates = (['sealpost', 'two gateways'] as const).flatMap((relay) =>
    of(relay).length > 0 ? [middle('perSecond', relay)] : [],
  )
  return {
    name: one.name,
    unit: '/s',
    ours: Math.max(...rates),
    postfix: of('postfix').length === 0 ? null : middle('perSecond', 'postfix'),
    target: one.target === null ? null : { of: 'ratio', kind: 'least', value: one.target },
    note: `${words.join('; ')}; others ${others} %`,
  }
}

/** What a second gateway brings, and what it costs. */
function scaleOf(one: Case, turns: readonly Turn[]): Figure[] {
  const of = (relay: RelayName) => turns.filter((turn) => turn.case === one.name && turn.relay === relay)
  if (of('two gateways').length === 0) return []
  const part = (what: 'perSecond' | 'cpu') =>
    round(median(of('two gateways').map((turn) => turn[what])) / median(of('sealpost').map((turn) => turn[what])))
  const note = 'two gateways in parts of one'
  const rest = { unit: '', postfix: null, note }
  return [
    { ...rest, name: `${one.name}: rate`, ours: part('perSecond'), target: { of: 'figure', kind: 'least', value: 1 } },
    {
      ...rest,
      name: `${one.name}: processor time`,
      ours: part('cpu'),
      target: { of: 'figure', kind: 'most', value: 1.1 },
    },
  ]
}
