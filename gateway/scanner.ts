import { createBreaker } from './breaker.ts'
import { GatewayError } from './error.ts'
import type { Content } from './intake.ts'
import type { Scan } from './scan.ts'
import { askClamd, scanByClamd } from './scanner-clamd.ts'
import { askIcap, type IcapOptions, type IcapService, scanByIcap } from './scanner-icap.ts'
import { openScannerWire, type ScannerPlace, type ScannerWire } from './scanner-wire.ts'
import { createTurns } from './turns.ts'

export type ScannerOptions = {
  readonly place: ScannerPlace
  /** Null: clamd. */
  readonly icap: IcapService | null
  /** For one message, all waiting included. */
  readonly timeoutMs: number
  /** A larger message is not shown, octets. */
  readonly maxSize: number
  /** At the same time. */
  readonly connections: number
}

/** Whoever looks into a message before it is sealed: behind us nobody can. */
export type Scanner = {
  /** Rejects with a {@link GatewayError} `scanner`, the mail having to wait, if no answer can be had. */
  scan(content: Pick<Content, 'size' | 'accepted'>, deadline: AbortSignal): Promise<Scan>
  /** Whether it answered when last asked. */
  answers(): boolean
}

/** So many failures in a row, and mail is told at once; in so many milliseconds one may find out. */
const BREAKER = { failures: 3, probeMs: 1000 }

export function createScanner(options: ScannerOptions): Scanner {
  const breaker = createBreaker(BREAKER)
  const turns = createTurns(options.connections)
  const show = options.icap === null ? scanByClamd : icapScan(options, options.icap)

  return {
    answers: () => !breaker.isOpen(),
    async scan(content, deadline) {
      if (content.size > options.maxSize) return { verdict: 'too-large', name: '' }
      if (!breaker.allows())
        throw new GatewayError('scanner', { message: 'the scanner did not answer when last asked' })
      const signal = AbortSignal.any([deadline, AbortSignal.timeout(options.timeoutMs)])
      const done = await turns.take('', signal)
      try {
        if (done === null) throw new GatewayError('scanner', { message: 'the scanner has too much to do' })
        const found = await withWire(options.place, signal, (wire) => show(wire, content))
        breaker.answered()
        return found
      } catch (cause) {
        // A scratch file that cannot be read, or a client whose time is over, says nothing of the scanner.
        if (done !== null && !deadline.aborted) breaker.failed()
        throw cause instanceof GatewayError ? cause : new GatewayError('scanner', { cause })
      } finally {
        done?.()
      }
    },
  }
}

/** What the scanner says of itself, for people; rejects if it says nothing, or at the end of `stop`. No message is shown to it. */
export async function askScanner({ place, icap, timeoutMs }: ScannerOptions, stop?: AbortSignal): Promise<string> {
  const late = AbortSignal.timeout(timeoutMs)
  return withWire(place, stop === undefined ? late : AbortSignal.any([late, stop]), async (wire) => {
    if (icap === null) return askClamd(wire)
    const { service, method, preview } = await askIcap(wire, icap)
    return `${service}, ${method}${preview === null ? '' : `, preview of ${preview} octets`}`
  })
}

function icapScan({ place, timeoutMs }: ScannerOptions, at: IcapService) {
  let known: { readonly options: IcapOptions; readonly until: number } | null = null
  return async (wire: ScannerWire, content: Parameters<Scanner['scan']>[0]) => {
    if (known === null || performance.now() > known.until) {
      const options = await withWire(place, AbortSignal.timeout(timeoutMs), (own) => askIcap(own, at))
      known = { options, until: performance.now() + options.lifeMs }
    }
    try {
      return await scanByIcap(wire, at, known.options, content)
    } catch (error) {
      // It may be another service by now.
      known = null
      throw error
    }
  }
}

async function withWire<T>(place: ScannerPlace, signal: AbortSignal, use: (wire: ScannerWire) => Promise<T>) {
  const wire = await openScannerWire(place, signal)
  try {
    return await use(wire)
  } finally {
    wire.close()
  }
}
