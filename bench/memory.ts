import { readFileSync } from 'node:fs'
import { runProgram } from './child.ts'
import type { Figure } from './figure.ts'
import { startSink } from './sink.ts'
import type { Sent } from './source.ts'
import { lastWords, openStand } from './stand.ts'
import { median, round } from './statistics.ts'

/** Peak memory of a fresh gateway at 20 messages of 25 MB at the same time: once each envelope goes by mail, once by link. */

const AT_ONCE = 20
const SIZE = 25_000_000
const CAP_SECONDS = 300

export type MemoryOptions = { readonly rounds: number; readonly say: (line: string) => void }

export async function measureMemory(options: MemoryOptions): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const way of ['by mail', 'by link'] as const) {
    const peaks: Peak[] = []
    for (let number = 1; number <= options.rounds; number++) {
      const peak = await measurePeak(way)
      peaks.push(peak)
      options.say(`memory, envelopes ${way}, round ${number}: ${peak.before} MB at rest, ${peak.peak} MB at most`)
    }
    figures.push({
      name: `gateway's peak memory, 20 × 25 MB at once, ${way}`,
      unit: 'MB',
      ours: median(peaks.map(({ peak }) => peak)),
      postfix: null,
      target: { of: 'figure', kind: 'most', value: 200 },
      note: `at rest ${median(peaks.map(({ before }) => before))} MB`,
    })
  }
  return figures
}

/** Resident octets in MB (10^6): after the start, and the most there ever were. */
type Peak = { readonly before: number; readonly peak: number }

async function measurePeak(way: 'by mail' | 'by link'): Promise<Peak> {
  const stand = await openStand()
  const sink = await startSink(stand.sinkPort)
  try {
    const gateway = await (way === 'by mail' ? stand.startGateway() : stand.startLinkGateway())
    const port = way === 'by mail' ? stand.gatewayPort : stand.secondPort
    const status = () => readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8')
    const before = megabytesOf(status(), 'VmRSS')
    const numbers = ['--count', `${AT_ONCE}`, '--connections', `${AT_ONCE}`, '--size', `${SIZE}`]
    const sent = await runProgram<Sent>('source.ts', ['--port', `${port}`, ...numbers], CAP_SECONDS)
    if (sent.refused > 0) {
      const words = `${sent.refused} of ${AT_ONCE} mails were refused: ${sent.firstRefusal}`
      throw new Error(`${words}; the gateway, ${lastWords(gateway)}`)
    }
    await sink.reached(AT_ONCE)
    return { before, peak: megabytesOf(status(), 'VmHWM') }
  } finally {
    await sink.stop()
    await stand.stop()
  }
}

/** A figure of /proc/<pid>/status, which counts in units of 1,024 octets; MB of 10^6. Throws where it is not there. */
export function megabytesOf(status: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]
  if (found === undefined) throw new Error(`/proc says no ${name}`)
  return round((Number(found) * 1024) / 1e6)
}
