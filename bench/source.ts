import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { type BenchMail, benchMail } from './mail.ts'
import { openLine, type SmtpLine } from './smtp-line.ts'

/**
 * A client process: sends `count` mails over `connections` connections to one port or several (`a,b`), kept or one for each mail, and prints a {@link Sent} as one line of
 * JSON. Each mail has a Message-ID of its own. A refused mail is not sent again.
 */

export type Sent = {
  /** Answered 250 after the dot. */
  readonly taken: number
  readonly refused: number
  readonly firstRefusal: string
  /** When the first connection was asked for, Unix ms: the mail was made before. */
  readonly begin: number
  /** When the last answer had come, Unix ms. */
  readonly end: number
  /** Of each mail, from its first command to the answer, ms. */
  readonly times: readonly number[]
}

type Load = {
  readonly ports: readonly number[]
  readonly count: number
  readonly keep: boolean
  readonly mail: BenchMail
}
type Tally = { next: number; taken: number; refused: number; readonly times: number[]; firstRefusal: string }

const run = randomBytes(6).toString('hex')

/** Clients are dealt out to the ports in turn, as a balancer would. */
async function client(load: Load, tally: Tally, index: number): Promise<void> {
  const port = load.ports[index % load.ports.length] ?? 0
  const kept: { line: SmtpLine | null } = { line: null }
  while (tally.next < load.count) {
    const number = tally.next++
    const begin = performance.now()
    const answer = await attempt(kept, load, port, number)
    tally.times.push(Number((performance.now() - begin).toFixed(2)))
    if (answer.startsWith('250')) tally.taken++
    else {
      tally.refused++
      tally.firstRefusal ||= answer.trim()
    }
  }
  kept.line?.close()
}

/** The server's answer to one mail, or why there was none. Leaves the connection open where it is to be kept. */
async function attempt(kept: { line: SmtpLine | null }, load: Load, port: number, number: number): Promise<string> {
  try {
    kept.line ??= await openLine(port)
    const answer = await kept.line.send(load.mail, `${run}.${number}`)
    if (load.keep && answer.startsWith('250')) return answer
    kept.line.close()
    kept.line = null
    return answer
  } catch (error) {
    kept.line = null
    return error instanceof Error ? error.message : String(error)
  }
}

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    count: { type: 'string' },
    size: { type: 'string' },
    connections: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
})
const load: Load = {
  ports: (values.port ?? '').split(',').map(Number),
  count: Number(values.count),
  keep: values.keep,
  mail: benchMail(Number(values.size)),
}
const tally: Tally = { next: 0, taken: 0, refused: 0, times: [], firstRefusal: '' }
const begin = performance.timeOrigin + performance.now()
await Promise.all(Array.from({ length: Number(values.connections) }, (_, index) => client(load, tally, index)))
const { taken, refused, firstRefusal, times } = tally
const end = performance.timeOrigin + performance.now()
const sent: Sent = { taken, refused, firstRefusal, begin, end, times }
process.stdout.write(`${JSON.stringify(sent)}\n`)
