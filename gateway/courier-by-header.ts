import type { Address } from '../protocol/identifiers.ts'
import { type ApiAnswer, type ApiOutcome, deferred, unknown } from './api-answer.ts'
import { SourceFault } from './api-call.ts'
import type { Courier, Delivery, OutgoingMail, RecipientResult, Report } from './courier.ts'
import { findHeaderEnd, HEADER_LIMIT, type HeaderField, parseHeader } from './header.ts'
import { addressingOf, bccField, type HeaderWay } from './header-addressing.ts'
import type { Letter } from './letter.ts'
import type { TokenSource } from './oauth-token.ts'
import { printable } from './smtp-reply.ts'
import { createTurns } from './turns.ts'

/** What every courier by a provider's API is given. */
export type ApiCourierOptions = {
  /** Without a slash at its end: https://graph.microsoft.com */
  readonly endpoint: string
  readonly tokens: TokenSource
  /** Takes what cannot go by its header. */
  readonly otherwise: Courier
  /** Null: every sender of the organization. */
  readonly mailboxes: ReadonlySet<Address> | null
  /** Told of each delivery which way it goes; `because`: why it is not the API, in words, null where it is. */
  readonly onWay?: (delivery: Delivery, because: string | null) => void
  /** The most that one mail may take, milliseconds. 50,000 if absent. */
  readonly budgetMs?: number
  /** The most that one request may take, milliseconds. 25,000 if absent. */
  readonly requestMs?: number
  /** How long to look for what became of a mail after a lost answer, beyond the budget if need be. 5,000 if absent. */
  readonly lookMs?: number
}

/** What only the one API has. */
export type HeaderCourierParts = {
  /** The largest mail, octets. */
  readonly size: number
  /** Letters at the same time for one mailbox. */
  readonly atOnce: number
  /** Rejects only with {@link SourceFault}, and with nothing sent. `until` is when the time is up, by performance.now(). */
  send(letter: Letter, signal: AbortSignal, until: number): Promise<ApiAnswer>
}

/** For a mail that nobody waits for, milliseconds: a large one on a slow line. */
const PATIENCE = 600_000

/** The courier around an API that takes recipients from the header; everything else goes by `otherwise`. */
export function createHeaderCourier(options: ApiCourierOptions, parts: HeaderCourierParts): Courier {
  const { otherwise, mailboxes, onWay, budgetMs = 50_000 } = options
  const nextHop = new URL(options.endpoint).hostname
  const turns = createTurns(parts.atOnce)
  const elsewhere = (delivery: Delivery, because: string) => {
    onWay?.(delivery, because)
    return otherwise.deliver(delivery)
  }
  return {
    capabilities: () => otherwise.capabilities(),
    close: () => otherwise.close(),
    // Mail that must have TLS all the way goes by the other way.
    safeDomains: async (domains, signal) => (await otherwise.safeDomains?.(domains, signal)) ?? new Set(),
    async deliver(delivery) {
      const until = performance.now() + budgetMs
      const letter = await letterOf(delivery, { mailboxes, size: parts.size })
      if ('because' in letter) return elsewhere(delivery, letter.because)
      const limit = AbortSignal.timeout(delivery.patient === true ? Math.max(PATIENCE, budgetMs) : budgetMs)
      const signal = delivery.signal === undefined ? limit : AbortSignal.any([delivery.signal, limit])
      const end = await turns.take(letter.mailbox, signal)
      if (end === null) return report(delivery, nextHop, givenUp(letter))
      try {
        const answer = await parts.send(letter, signal, until)
        if (answer.kind === 'elsewhere') return await elsewhere(delivery, answer.because)
        onWay?.(delivery, null)
        return report(delivery, nextHop, answer)
      } catch (error) {
        throw error instanceof SourceFault ? error.cause : error
      } finally {
        end()
      }
    },
  }
}

/** Before anything was sent. What is unknown stays so: else the next attempt would not look before it sends. */
function givenUp(letter: Letter): ApiOutcome {
  const text = 'the delivery was given up'
  return letter.again ? unknown(text) : deferred(text, '4.4.2')
}

/** Or why it is none. */
async function letterOf(delivery: Delivery, way: HeaderWay): Promise<Letter | { readonly because: string }> {
  const fields = await readFields(delivery.mail)
  if (fields === null) return { because: 'the header is too long' }
  const addressing = addressingOf(delivery, fields, way)
  if (addressing.kind === 'envelope') return addressing
  const { mailbox, blind } = addressing
  const mail = withBefore(delivery.mail, Buffer.from(bccField(blind), 'latin1'))
  const { recipients, again = false, onDot = () => undefined } = delivery
  return { mailbox, recipients, fields, mail, again, onDot }
}

async function readFields(mail: OutgoingMail): Promise<readonly HeaderField[] | null> {
  let held: Uint8Array = new Uint8Array()
  for await (const chunk of mail.open()) {
    const from = Math.max(0, held.length - 3)
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    if (findHeaderEnd(held, from) !== -1 || held.length > HEADER_LIMIT) break
  }
  return parseHeader(held)?.fields ?? null
}

function withBefore(mail: OutgoingMail, octets: Uint8Array): OutgoingMail {
  if (octets.length === 0) return mail
  return {
    ...mail,
    size: mail.size + octets.length,
    async *open() {
      yield octets
      yield* mail.open()
    },
  }
}

function report(delivery: Delivery, nextHop: string, { outcome, code, enhanced, text, remote }: ApiOutcome): Report {
  const words = printable(text)
  const results = delivery.recipients.map((recipient): RecipientResult => {
    return { recipient, outcome, code, enhanced, text: words, remote }
  })
  return { results, nextHop }
}
