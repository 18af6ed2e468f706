import { isAscii as octetsAreAscii } from 'node:buffer'
import type { Capabilities, Courier, Delivery, OutgoingMail, RecipientResult } from './courier.ts'
import { ended } from './ended.ts'
import { mayHave, notDelivered, refusedHere } from './recipient-result.ts'
import type { SmtpAuth } from './smtp-auth.ts'
import { GreetingFault, type NextHop, type PhaseTimeouts, phaseTimeouts } from './smtp-client.ts'
import { isAscii, isPath } from './smtp-path.ts'
import { createSmtpPool, type Leased, type SmtpPool } from './smtp-pool.ts'
import { allTheWay, type TransactionEnd, transact } from './smtp-transaction.ts'
import { WireFault } from './smtp-wire.ts'
import { defaultTlsPolicy, type TlsPolicy } from './tls-policy.ts'

export type SmtpCourierOptions = {
  readonly host: string
  /** Where it is, if the host's name is not to be resolved. */
  readonly address?: string
  readonly port: number
  /** Said in EHLO. */
  readonly helo: string
  /** {@link defaultTlsPolicy} if absent. */
  readonly tls?: TlsPolicy
  readonly implicitTls?: boolean
  readonly auth?: SmtpAuth
  /** At the same time; more cost the next hop memory. 20 if absent. */
  readonly connections?: number
  /** The most that one mail may take, milliseconds; the client behind us waits meanwhile. 240,000 if absent. */
  readonly budgetMs?: number
  /** 30,000 if absent: shorter than next hops commonly keep a silent connection. */
  readonly idleMs?: number
  /** 1,000 if absent. */
  readonly mailsPerConnection?: number
  /** More recipients are served by further transactions (RFC 5321 4.5.3.1.8 grants 100). 100 if absent. */
  readonly recipientsPerMail?: number
}

/** A courier to one next hop by SMTP, over kept connections. */
export function createSmtpCourier(options: SmtpCourierOptions): Courier {
  const budgetMs = options.budgetMs ?? 240_000
  const timeouts = phaseTimeouts(budgetMs)
  let known: Capabilities | null = null
  const pool = createSmtpPool({
    hop: nextHopOf(options),
    timeouts,
    connections: options.connections ?? 20,
    mailsPerConnection: options.mailsPerConnection ?? 1_000,
    idleMs: options.idleMs ?? 30_000,
    onGreeted: (client) => {
      known = client.capabilities
    },
  })
  return {
    capabilities: () => known,
    close: () => pool.close(),
    /** Whoever takes REQUIRETLS answers for the whole way (RFC 8689 4.2.1). */
    async safeDomains(domains, signal) {
      if (known === null) await greet(pool, budgetMs, signal)
      return new Set(known?.requireTls === true ? domains : [])
    },
    async deliver(delivery) {
      const results = new Map<string, RecipientResult>()
      let most = options.recipientsPerMail ?? 100
      for (let left = delivery.recipients; left.length > 0; left = left.filter((one) => !results.has(one))) {
        const part = { ...delivery, recipients: left.slice(0, most) }
        const pace = part.patient === true ? UNHURRIED : { timeouts, totalMs: budgetMs }
        const found = await deliverOnce(pool, part, pace, budgetMs).catch((error: unknown) => {
          // Only where nobody has the mail yet may the whole be called undelivered.
          if (![...results.values()].some(mayHave)) throw error
          return deferAll(part, 'the mail could not be read to its end', '4.3.0')
        })
        for (const result of found) results.set(result.recipient, result)
        if (found.length < part.recipients.length) most = Math.min(most, FEW)
      }
      const inOrder = delivery.recipients.map((one) => results.get(one) ?? notDelivered(one, 'it was not offered'))
      return { results: inOrder, nextHop: options.host }
    },
  }
}

/**
 * Recipients of a mail, once a next hop has hung up on us for those whom it refused: Postfix as it comes slows down after ten refusals without a mail
 * in between, and goes after twenty.
 */
const FEW = 10

/** What the steps of a mail may take, and all of them up to the dot; null: as long as it goes on. */
type Pace = { readonly timeouts: PhaseTimeouts; readonly totalMs: number | null }

const UNHURRIED: Pace = { timeouts: phaseTimeouts(600_000), totalMs: null }

/** Only to hear what the next hop offers; what goes wrong is the next delivery's to tell. */
async function greet(pool: SmtpPool, waitMs: number, signal: AbortSignal): Promise<void> {
  const heard = pool.take(waitMs).then(
    (leased) => pool.give(leased, leased.resetFirst ? 'reset-first' : 'clean'),
    () => undefined,
  )
  await Promise.race([heard, ended(signal)])
}

/** The next hop as written, with the defaults filled in. */
export function nextHopOf(options: SmtpCourierOptions): NextHop {
  return {
    host: options.host,
    ...(options.address === undefined ? {} : { address: options.address }),
    port: options.port,
    helo: options.helo,
    tls: options.tls ?? defaultTlsPolicy(options.host),
    implicitTls: options.implicitTls ?? false,
    auth: options.auth ?? null,
  }
}

/** Everybody's result; or, where the connection ended in the middle of them, only of those who were refused till then. */
async function deliverOnce(
  pool: SmtpPool,
  delivery: Delivery,
  { timeouts, totalMs }: Pace,
  waitMs: number,
): Promise<readonly RecipientResult[]> {
  if (isGivenUp(delivery)) return deferAll(delivery, 'the delivery was given up')
  const until = totalMs === null ? null : performance.now() + totalMs
  let leased: Leased | null = null
  try {
    leased = await unlessGivenUp(pool, pool.take(waitMs), delivery.signal)
    let end = await withLimits(leased, delivery, timeouts, until)
    if (end.kind === 'lost' && end.settled.length === 0 && leased.carried > 0 && !isGivenUp(delivery)) {
      const dead = leased
      leased = null
      leased = await unlessGivenUp(pool, pool.replace(dead), delivery.signal)
      end = await withLimits(leased, delivery, timeouts, until)
    }
    pool.give(leased, end.kind === 'lost' ? 'finished' : end.next)
    if (end.kind === 'done') return end.results
    return end.settled.length === 0 ? deferAll(delivery, end.reason) : end.settled
  } catch (error) {
    if (leased !== null) pool.give(leased, 'finished')
    if (error instanceof GreetingFault) return greetingResults(delivery, error)
    if (error instanceof WireFault) return deferAll(delivery, error.message, '4.4.1')
    throw error
  }
}

/** The connection, unless the wait for it is given up: then it is the next one's, whenever it comes. */
function unlessGivenUp(pool: SmtpPool, coming: Promise<Leased>, signal: AbortSignal | undefined): Promise<Leased> {
  if (signal === undefined) return coming
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      reject(new WireFault('the delivery was given up'))
      coming.then(
        (leased) => pool.give(leased, leased.resetFirst ? 'reset-first' : 'clean'),
        () => undefined,
      )
    }
    signal.addEventListener('abort', giveUp, { once: true })
    coming.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp))
  })
}

/** One transaction, ended when its time is up, if it has one, or the caller gives up. */
async function withLimits(
  leased: Leased,
  delivery: Delivery,
  timeouts: PhaseTimeouts,
  until: number | null,
): Promise<TransactionEnd> {
  const { wire } = leased.client
  const late = () => wire.destroy('the time for this delivery is up')
  const timer = until === null ? undefined : setTimeout(late, Math.max(1, until - performance.now()))
  const giveUp = () => wire.destroy('the delivery was given up')
  delivery.signal?.addEventListener('abort', giveUp)
  const { onDot } = delivery
  const dotted = () => {
    clearTimeout(timer)
    onDot?.()
  }
  try {
    return await offer(leased, onDot === undefined ? delivery : { ...delivery, onDot: dotted }, timeouts)
  } finally {
    clearTimeout(timer)
    delivery.signal?.removeEventListener('abort', giveUp)
  }
}

/** Settles what this next hop can never take, and sends the rest. */
async function offer(leased: Leased, delivery: Delivery, timeouts: PhaseTimeouts): Promise<TransactionEnd> {
  const { capabilities } = leased.client
  const refusals = await refusalsBefore(capabilities, delivery)
  const recipients = delivery.recipients.filter((recipient) => !refusals.has(recipient))
  if (recipients.length === 0) return { kind: 'done', results: [...refusals.values()], next: 'clean' }
  const end = await transact({ client: leased.client, timeouts }, { ...delivery, recipients }, leased.resetFirst)
  if (end.kind === 'lost' || refusals.size === 0) return end
  const rest = [...end.results]
  const results = delivery.recipients.map((recipient) => refusals.get(recipient) ?? rest.shift())
  return { ...end, results: results.filter((result) => result !== undefined) }
}

async function refusalsBefore(can: Capabilities, delivery: Delivery): Promise<ReadonlyMap<string, RecipientResult>> {
  const { mail, sender } = delivery
  const refuse = (code: number, enhanced: string, text: string) =>
    new Map(delivery.recipients.map((recipient) => [recipient, refusedHere(recipient, code, enhanced, text)]))
  if (sender !== '' && !isPath(sender)) return refuse(553, '5.1.7', 'the sender address cannot be written in SMTP')
  if (can.size !== null && mail.size > can.size) {
    return refuse(552, '5.3.4', `the next hop takes at most ${can.size} octets, and this mail has ${mail.size}`)
  }
  if (allTheWay(delivery) && !can.requireTls) {
    const who = delivery.wishes?.requireTls ? 'the sender' : 'a rule'
    return refuse(550, '5.7.30', `${who} requires TLS all the way (REQUIRETLS), which the next hop does not promise`)
  }
  if (delivery.tls !== undefined && !can.verified) {
    return refuse(550, '5.7.4', 'a rule lets this mail pass over verified TLS only, and the next hop is not verified')
  }
  const utf8Text = 'an address needs SMTPUTF8, which the next hop does not offer'
  if (!can.smtputf8 && (mail.smtputf8 || !isAscii(sender))) return refuse(553, '5.6.7', utf8Text)
  if (!can.eightBitMime && (mail.eightBit ?? (await holdsEightBit(mail)))) {
    return refuse(554, '5.6.3', 'the mail holds 8-bit text, which the next hop does not take')
  }
  const refusals = new Map<string, RecipientResult>()
  for (const recipient of delivery.recipients) {
    if (!isPath(recipient)) {
      refusals.set(recipient, refusedHere(recipient, 553, '5.1.3', 'the address cannot be written in SMTP'))
    } else if (!can.smtputf8 && !isAscii(recipient)) {
      refusals.set(recipient, refusedHere(recipient, 553, '5.6.7', utf8Text))
    }
  }
  return refusals
}

function isGivenUp(delivery: Delivery): boolean {
  return delivery.signal?.aborted === true
}

async function holdsEightBit(mail: OutgoingMail): Promise<boolean> {
  for await (const chunk of mail.open()) if (!octetsAreAscii(chunk)) return true
  return false
}

/** A next hop that does not greet us is one that cannot be asked now, whatever its code says. */
function greetingResults(delivery: Delivery, fault: GreetingFault): readonly RecipientResult[] {
  const said = fault.reply === null ? '' : `: ${fault.reply.code} ${fault.reply.text}`
  return deferAll(delivery, fault.message + said, fault.enhanced)
}

function deferAll(delivery: Delivery, reason: string, enhanced?: string): readonly RecipientResult[] {
  return delivery.recipients.map((recipient) => notDelivered(recipient, reason, enhanced))
}
