import { runProgram } from './child.ts'
import type { Figure } from './figure.ts'
import { noPostfix } from './postfix.ts'
import { openPostfix, warmUp } from './relay.ts'
import { startSink } from './sink.ts'
import type { Sent } from './source.ts'
import { openStand } from './stand.ts'
import { median, round } from './statistics.ts'

/** How fast mail is answered 250 where it is kept first and delivered afterwards: a gateway with `delivery: spool`, and Postfix. */

export type AcceptingOptions = {
  readonly rounds: number
  readonly quick: boolean
  readonly say: (line: string) => void
}

export async function measureAccepting({ rounds, quick, say }: AcceptingOptions): Promise<Figure[]> {
  const stand = await openStand('spool')
  await stand.startGateway()
  const postfix = noPostfix() === null ? await openPostfix(stand) : null
  const sink = await startSink(stand.sinkPort)
  const rates = { sealpost: [] as number[], postfix: [] as number[] }
  const ports = { sealpost: stand.gatewayPort, postfix: postfix?.port ?? null }
  try {
    for (const port of Object.values(ports)) if (port !== null) await warmUp(port, sink)
    for (let number = 1; number <= rounds; number++) {
      for (const relay of ['sealpost', 'postfix'] as const) {
        const port = ports[relay]
        if (port === null) continue
        const before = sink.count()
        const count = quick ? 600 : 3000
        const numbers = ['--port', `${port}`, '--count', `${count}`, '--size', '10000', '--connections', '20', '--keep']
        const sent = await runProgram<Sent>('source.ts', numbers, 300)
        if (sent.refused > 0) throw new Error(`${sent.refused} mails were refused: ${sent.firstRefusal}`)
        const perSecond = round(count / ((sent.end - sent.begin) / 1000))
        rates[relay].push(perSecond)
        const delivered = round(count / (((await sink.reached(before + count)) - sent.begin) / 1000))
        say(`${relay.padEnd(8)} keeps first, round ${number}: ${perSecond}/s taken, ${delivered}/s delivered`)
      }
    }
    return [
      {
        name: 'taken where mail is kept first, 10 KB, 20 kept connections',
        unit: '/s',
        ours: median(rates.sealpost),
        postfix: rates.postfix.length === 0 ? null : median(rates.postfix),
        target: { of: 'ratio', kind: 'least', value: 1 },
        note: 'answered 250; delivery goes on meanwhile',
      },
    ]
  } finally {
    await sink.stop()
    await postfix?.stop()
    await stand.stop()
  }
}
