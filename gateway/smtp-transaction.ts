import { setImmediate as turn } from 'node:timers/promises'
import { giveBack } from '../envelope/lent.ts'
import type { Delivery, RecipientResult } from './courier.ts'
import { createDotStuffing } from './dot-stuffing.ts'
import { mailWishes, rcptWishes } from './dsn.ts'
import { notDelivered, resultOf, unknownResult } from './recipient-result.ts'
import type { PhaseTimeouts, SmtpClient } from './smtp-client.ts'
import { isAscii } from './smtp-path.ts'
import type { Reply } from './smtp-reply.ts'
import { type Wire, WireFault } from './smtp-wire.ts'

/**
 * One mail over one connection. `lost`: the connection ended before the content began, so that nothing was delivered and a kept connection
 * may be replaced by a fresh one; `settled` are those who were refused before it ended. `next`: what the connection is good for afterwards.
 */
export type TransactionEnd =
  | {
      readonly kind: 'done'
      readonly results: readonly RecipientResult[]
      readonly next: 'clean' | 'reset-first' | 'finished'
    }
  | { readonly kind: 'lost'; readonly reason: string; readonly settled: readonly RecipientResult[] }

/** For the answer to the dot where somebody waits for it: RFC 5321 4.5.3.2.6, milliseconds. */
const LONGEST_WAIT = 600_000

/** Octets that are gathered into one write. */
const BLOCK = 256 * 1024
/** For the dot that goes with the last of them, and for some that were doubled. */
const DOT_ROOM = 256

type Open = { readonly client: SmtpClient; readonly timeouts: PhaseTimeouts }
type Results = (RecipientResult | null)[]

/**
 * Sends the mail to those recipients that the next hop accepts; if it accepts none, no DATA. Rejects only with an error of the mail's own
 * stream; the connection is destroyed then, and nothing was delivered.
 */
export async function transact(open: Open, delivery: Delivery, resetFirst: boolean): Promise<TransactionEnd> {
  const { wire } = open.client
  const results: Results = delivery.recipients.map(() => null)
  let go: boolean
  try {
    go = await sayEnvelope(open, delivery, resetFirst, results)
    if (go) go = await sayData(open, delivery, results)
    else await dropData(open)
  } catch (error) {
    if (error instanceof WireFault) {
      // Out of turn, an answer may have been to another than we took it for.
      const settled = error instanceof StrayFault ? [] : results.filter((result) => result !== null)
      return { kind: 'lost', reason: error.message, settled }
    }
    throw error
  }
  if (!go) return done(wire, results, delivery, 'reset-first')
  const accepted = delivery.recipients.flatMap((_, i) => (results[i] === null ? [i] : []))
  const answer = await sendContent(wire, delivery, open.timeouts)
  for (const i of accepted) {
    const recipient = delivery.recipients[i] ?? ''
    results[i] = contentResult(recipient, answer)
  }
  return done(wire, results, delivery, 'clean')
}

/** MAIL, every RCPT and DATA, in one write where the next hop takes that (RFC 2920 3.1). False if no recipient is left. */
async function sayEnvelope(open: Open, delivery: Delivery, resetFirst: boolean, results: Results): Promise<boolean> {
  const { wire, capabilities } = open.client
  const { command } = open.timeouts
  const mail = mailCommand(open.client, delivery)
  const rcpts = delivery.recipients.map((recipient) => rcptCommand(open.client, delivery, recipient))
  if (wire.unasked() !== null || wire.hasBegun()) throw stray(wire)
  if (capabilities.pipelining)
    await wire.write(`${resetFirst ? 'RSET\r\n' : ''}${mail}${rcpts.join('')}DATA\r\n`, command)
  else if (resetFirst) await wire.write('RSET\r\n', command)
  if (resetFirst) await accept(wire, command)
  if (!capabilities.pipelining) await wire.write(mail, command)
  const first = await accept(wire, command)
  if (first.code === 421) throw new WireFault(`the next hop ended the connection: ${first.text}`)
  for (const [i, recipient] of delivery.recipients.entries()) {
    if (first.code >= 400) results[i] = resultOf(recipient, first)
  }
  for (const [i, recipient] of delivery.recipients.entries()) {
    if (!capabilities.pipelining) {
      if (first.code >= 400) return false
      await wire.write(rcpts[i] ?? '', command)
    }
    const reply = await accept(wire, command)
    if (reply.code === 421) throw new WireFault(`the next hop ended the connection: ${reply.text}`)
    if (reply.code >= 400) results[i] ??= resultOf(recipient, reply)
  }
  return results.includes(null)
}

/** DATA. False if the next hop does not want the content. */
async function sayData(open: Open, delivery: Delivery, results: Results): Promise<boolean> {
  const { wire } = open.client
  if (!open.client.capabilities.pipelining && wire.unasked() !== null) throw stray(wire)
  if (!open.client.capabilities.pipelining) await wire.write('DATA\r\n', open.timeouts.command)
  const reply = await wire.reply(open.timeouts.dataStart)
  if (reply.code === 354) return true
  if (reply.code < 400) throw stray(wire)
  for (const [i, recipient] of delivery.recipients.entries()) results[i] ??= resultOf(recipient, reply)
  return false
}

/** The answer to a DATA that went out before everybody was refused. Who wants content for nobody is left; a connection that ended has said enough. */
async function dropData({ client: { wire, capabilities }, timeouts }: Open): Promise<void> {
  if (!capabilities.pipelining) return
  try {
    const reply = await wire.reply(timeouts.dataStart)
    if (reply.code < 400) wire.destroy('the next hop wants content for nobody')
  } catch (error) {
    if (!(error instanceof WireFault)) throw error
  }
}

/** `cut`: the connection ended before our dot, so that nothing was delivered (RFC 5321 4.1.1.4). `lost`: after it. */
type Answer =
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'cut' | 'lost'; readonly reason: string }

function contentResult(recipient: string, answer: Answer): RecipientResult {
  switch (answer.kind) {
    case 'reply':
      return resultOf(recipient, answer.reply)
    case 'cut':
      return notDelivered(recipient, answer.reason, '4.4.1')
    case 'lost':
      return unknownResult(recipient, answer.reason)
  }
}

/** The content and its dot, in large writes. An answer before the dot means that the next hop will not take it. */
async function sendContent(wire: Wire, delivery: Delivery, timeouts: PhaseTimeouts): Promise<Answer> {
  const { mail, onDot } = delivery
  const stuffing = createDotStuffing()
  const block = Buffer.allocUnsafeSlow(Math.min(mail.size, BLOCK) + DOT_ROOM)
  let filled = 0
  let dotted = false
  const flush = async (): Promise<void> => {
    const full = block.subarray(0, filled)
    filled = 0
    await wire.give(full, timeouts.dataBlock)
  }
  try {
    for await (const chunk of mail.open('lent')) {
      const piece = stuffing.stuff(chunk)
      for (let at = 0; at < piece.length; ) {
        if (filled === block.length) {
          await flush()
          // The next hop gets a turn: a system that takes every write at once would keep its refusal from being read.
          await turn()
          const early = wire.unasked()
          if (early !== null) return refusedEarly(wire, early, false)
        }
        const part = piece.subarray(at, at + block.length - filled)
        block.set(part, filled)
        filled += part.length
        at += part.length
      }
    }
    const end = stuffing.end()
    if (filled + end.length > block.length) await flush()
    const early = wire.unasked()
    if (early !== null) return refusedEarly(wire, early, false)
    // Its end would come behind our dot, and be taken for the answer to that.
    if (wire.hasBegun()) return tooEarly(wire, false)
    block.set(end, filled)
    filled += end.length
    dotted = true
    onDot?.()
    await flush()
    return { kind: 'reply', reply: await accept(wire, onDot === undefined ? timeouts.final : LONGEST_WAIT) }
  } catch (error) {
    if (!(error instanceof WireFault)) {
      wire.destroy('the mail could not be read to its end')
      throw error
    }
    const last = wire.unasked()
    return last === null ? { kind: dotted ? 'lost' : 'cut', reason: error.message } : refusedEarly(wire, last, dotted)
  } finally {
    giveBack(block)
  }
}

/** Only the words of a refusal count: a 250 for content that had not ended means nothing, and before our dot nothing was delivered. */
function refusedEarly(wire: Wire, reply: Reply, dotted: boolean): Answer {
  const answer = tooEarly(wire, dotted)
  return reply.code >= 400 ? { kind: 'reply', reply } : answer
}

function tooEarly(wire: Wire, dotted: boolean): Answer {
  wire.destroy('the next hop answered before the content had ended')
  return { kind: dotted ? 'lost' : 'cut', reason: 'the next hop answered too early' }
}

function mailCommand(client: SmtpClient, delivery: Delivery): string {
  const { capabilities } = client
  const { mail, sender, recipients } = delivery
  let command = `MAIL FROM:<${sender}>`
  if (capabilities.offersSize) command += ` SIZE=${mail.size}`
  if (capabilities.eightBitMime && mail.eightBit !== false) command += ' BODY=8BITMIME'
  const utf8 = mail.smtputf8 || !isAscii(sender) || recipients.some((recipient) => !isAscii(recipient))
  if (capabilities.smtputf8 && utf8) command += ' SMTPUTF8'
  if (capabilities.dsn && delivery.wishes !== undefined) command += mailWishes(delivery.wishes)
  if (allTheWay(delivery)) command += ' REQUIRETLS'
  return `${command}\r\n`
}

/** Whether REQUIRETLS goes along (RFC 8689): the sender or a rule wants it. */
export function allTheWay({ wishes, tls }: Delivery): boolean {
  return wishes?.requireTls === true || tls === 'recipient'
}

function rcptCommand({ capabilities }: SmtpClient, { wishes }: Delivery, recipient: string): string {
  return `RCPT TO:<${recipient}>${capabilities.dsn ? rcptWishes(wishes?.of.get(recipient)) : ''}\r\n`
}

/** A reply that may stand behind a command: 2yz, 4yz or 5yz. */
async function accept(wire: Wire, timeoutMs: number): Promise<Reply> {
  const reply = await wire.reply(timeoutMs)
  if (reply.code >= 300 && reply.code < 400) throw stray(wire)
  return reply
}

class StrayFault extends WireFault {}

function stray(wire: Wire): WireFault {
  wire.destroy('the next hop answered out of turn')
  return new StrayFault('the next hop answered out of turn')
}

function done(wire: Wire, results: Results, delivery: Delivery, next: 'clean' | 'reset-first'): TransactionEnd {
  const complete = results.map(
    (result, i) => result ?? notDelivered(delivery.recipients[i] ?? '', 'it was not offered'),
  )
  const ended = !wire.alive || complete.some((result) => result.remote && result.code === 421)
  return { kind: 'done', results: complete, next: ended ? 'finished' : next }
}
