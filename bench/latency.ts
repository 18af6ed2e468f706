import { runProgram } from './child.ts'
import type { Figure } from './figure.ts'
import { warmUp } from './relay.ts'
import { startSink } from './sink.ts'
import type { Sent } from './source.ts'
import { openStand } from './stand.ts'
import { latencyOf, median, round } from './statistics.ts'

/** What one mail of 10 KB waits longer because it goes through the gateway, one after another with no other load. */

export type LatencyOptions = { readonly rounds: number; readonly quick: boolean; readonly say: (line: string) => void }

export async function measureLatency({ rounds, quick, say }: LatencyOptions): Promise<Figure[]> {
  const stand = await openStand()
  await stand.startGateway()
  const sink = await startSink(stand.sinkPort)
  try {
    await warmUp(stand.gatewayPort, sink)
    const added: { readonly p50: number; readonly p99: number }[] = []
    for (let number = 1; number <= rounds; number++) {
      const [straight, through] = [await send(stand.sinkPort, quick), await send(stand.gatewayPort, quick)]
      const one = { p50: round(through.p50 - straight.p50), p99: round(through.p99 - straight.p50) }
      added.push(one)
      say(`latency, round ${number}: ${one.p50} ms added (p99 ${one.p99}), ${straight.p50} ms without the gateway`)
    }
    const figure = (which: 'p50' | 'p99', most: number): Figure => ({
      name: `added latency of one 10 KB mail, ${which}`,
      unit: 'ms',
      ours: round(median(added.map((one) => one[which]))),
      postfix: null,
      target: { of: 'figure', kind: 'most', value: most },
      note: 'one after another on a kept connection',
    })
    return [figure('p50', 8), figure('p99', 25)]
  } finally {
    await sink.stop()
    await stand.stop()
  }
}

async function send(port: number, quick: boolean) {
  const numbers = [
    '--port',
    `${port}`,
    '--count',
    quick ? '200' : '1000',
    '--size',
    '10000',
    '--connections',
    '1',
    '--keep',
  ]
  const { refused, firstRefusal, times } = await runProgram<Sent>('source.ts', numbers, 120)
  if (refused > 0) throw new Error(`${refused} mails were refused: ${firstRefusal}`)
  return latencyOf(times)
}
