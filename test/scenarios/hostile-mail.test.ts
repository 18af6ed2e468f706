import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { Recipient } from '../../cli/recipient.ts'
import { parseMessage } from '../../reader/message.ts'
import { lessPrivateFields } from './corpus.ts'
import { sendOnce } from './dialogue.ts'
import { hostileMails } from './hostile-mails.ts'
import { openScene, policyOf } from './house.ts'
import { envelopeIn, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(170_000)

/*
 * client -> gateway -> provider (a sink) -> the reader's code. Each mail alone: what it costs the gateway in processor time and memory is bounded, what
 * leaves is clean, what was sealed opens to the same octets, and the page's parser reads it, or says that it cannot, in bounded time as well.
 */
const from = 'anna@acme.example'
const to = 'bob@example.org'
/** Processor time, not time on the clock: other programs share the machine. Milliseconds. */
const MOST_TIME = 3_000
/** What all of them together may add to the gateway's memory. MB. */
const MOST_MEMORY = 450

const sink = await startSink()
const scene = await openScene(t, { sink, policy: policyOf() })
const { smtp, gatewayOps } = scene.house.ports
const pid = scene.gateway.child.pid ?? 0
let reader: Recipient | null = null

const plain = Buffer.from(`From: ${from}\r\nSubject: plain\r\n\r\nnothing bad\r\n`)
t.match(await sendOnce(smtp, { from, to: [to], octets: plain }), /^250 /)
const atStart = memory()

for (const { name, octets: make, answer = /^250 2\.0\.0 / } of hostileMails) {
  t.test(name, async (t) => {
    const octets = make()
    sink.forget()
    const before = processorTime()
    t.match(await sendOnce(smtp, { from, to: [to], octets }), answer)
    const spent = processorTime() - before
    t.ok(spent < MOST_TIME, `${spent} ms of the gateway's time`)
    if (!answer.test('250 2.0.0 ')) {
      t.same(sink.deliveries, [])
      return
    }
    const [mail] = sink.to(to)
    const outgoing = mail?.octets ?? Buffer.alloc(0)
    checkOutgoing(t, outgoing)
    const envelope = envelopeIn(outgoing)
    reader ??= await scene.prove(envelope, to)
    const { message } = await reader.open(envelope, sealedCopyIn(outgoing))
    t.ok(lessPrivateFields(octets).equals(message), 'it opens to the octets that were sent')
    await checkReading(t, message)
  })
}

t.test('after all of them the gateway lives, and its memory is bounded', async (t) => {
  t.match(await sendOnce(smtp, { from, to: [to], octets: Buffer.concat([plain, plain]) }), /^250 /)
  t.equal((await fetch(`http://127.0.0.1:${gatewayOps}/health/live`)).status, 200)
  const grown = memory() - atStart
  t.ok(grown < MOST_MEMORY, `${grown} MB more at its peak than after one plain mail`)
  t.notMatch(await scene.logs(), /"level":"(?:error|fatal)"/)
})

/** RFC 5322 2.1.1; 7-bit, but for addresses that ASCII cannot carry. */
function checkOutgoing(test: Test, outgoing: Buffer): void {
  const lines = outgoing.toString('latin1').split('\r\n')
  test.ok(
    lines.every((line) => line.length <= 998),
    'no line is longer than 998 octets',
  )
  test.notMatch(outgoing.toString('latin1'), /\0|\r(?!\n)|(?<!\r)\n/, 'no NUL, no bare newline')
  const header = outgoing.toString('utf8', 0, outgoing.indexOf('\r\n\r\n'))
  test.notMatch(header, /^(?:bcc|x):/im, 'nothing is kept that should not be')
  const beyond = header.replace(/[^\s<>,]+@[^\s<>,]+/g, '')
  test.notMatch(beyond, /[^\0-\x7f]/, '7-bit')
}

async function checkReading(test: Test, message: Uint8Array<ArrayBuffer>): Promise<void> {
  const before = process.cpuUsage()
  const read = await parseMessage(message)
  const { user, system } = process.cpuUsage(before)
  const spent = Math.round((user + system) / 1000)
  test.ok(spent < 2 * MOST_TIME, `${read === null ? 'not readable' : 'read'}, after ${spent} ms`)
}

/** Of the gateway so far, milliseconds (proc(5): fields 14 and 15, in hundredths of a second). */
function processorTime(): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const rest = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(rest[11]) + Number(rest[12])) * 10
}

/** The most that the gateway ever held, MB. */
function memory(): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024
}
