import type { Address } from '../protocol/identifiers.ts'
import { SourceFault } from './api-call.ts'
import type { Courier, Delivery, Outcome, OutgoingMail, RecipientResult, Report } from './courier.ts'
import { findHeaderEnd, HEADER_LIMIT, type HeaderField, parseHeader } from './header.ts'
import { type Addressing, addressingOf, bccField, type HeaderWay } from './header-addressing.ts'
import { printable } from './smtp-reply.ts'
import { createTurns } from './turns.ts'

/** A mail whose header says exactly who gets it, on its way out by a provider's API. */
export type Letter = {
  readonly mailbox: Address
  readonly recipients: readonly string[]
  /** Of the mail, without the Bcc field that was added. */
  readonly fields: readonly HeaderField[]
  /** Its header names every recipient. */
  readonly mail: OutgoingMail
  /** An earlier attempt may have been delivered: look before sending. */
  readonly again: boolean
  /** To be said right before the request that sends it. */
  readonly onDot: () => void
}

/** What became of a letter: one answer for all recipients; or nothing, since this mailbox is not the provider's. */
export type ApiAnswer =
  | {
      readonly kind: 'answer'
      readonly outcome: Outcome
      readonly code: number
      readonly enhanced: string
      readonly text: string
      /** Whether the words are the provider's. */
      readonly remote: boolean
    }
  | { readonly kind: 'elsewhere' }

export type HeaderCourierParts = HeaderWay & {
  /** The API's host, for reports. */
  readonly nextHop: string
  /** Takes all that cannot go by its header. */
  readonly otherwise: Courier
  /** Letters at the same time for one mailbox. */
  readonly atOnce: number
  /** The most that one letter may take, milliseconds. */
  readonly budgetMs: number
  /** Rejects only with {@link SourceFault}, and with nothing sent. `until` is when the time is up, by performance.now(). */
  send(letter: Letter, signal: AbortSignal, until: number): Promise<ApiAnswer>
}

/** The courier around an API that takes recipients from the header; everything else goes by `otherwise`. */
export function createHeaderCourier(parts: HeaderCourierParts): Courier {
  const turns = createTurns(parts.atOnce)
  return {
    capabilities: () => parts.otherwise.capabilities(),
    close: () => parts.otherwise.close(),
    // Mail that must have TLS all the way goes by the other way.
    safeDomains: async (domains, signal) => (await parts.otherwise.safeDomains?.(domains, signal)) ?? new Set(),
    async deliver(delivery) {
      const until = performance.now() + parts.budgetMs
      const letter = await letterOf(delivery, parts)
      if (letter === null) return parts.otherwise.deliver(delivery)
      const limit = AbortSignal.timeout(parts.budgetMs)
      const signal = delivery.signal === undefined ? limit : AbortSignal.any([delivery.signal, limit])
      const end = await turns.take(letter.mailbox, signal)
      if (end === null) return report(delivery, parts, givenUp(letter))
      try {
        const answer = await parts.send(letter, signal, until)
        if (answer.kind === 'elsewhere') return await parts.otherwise.deliver(delivery)
        return report(delivery, parts, answer)
      } catch (error) {
        throw error instanceof SourceFault ? error.cause : error
      } finally {
        end()
      }
    },
  }
}

/** Before anything was sent. What is unknown stays so: else the next attempt would not look before it sends. */
function givenUp(letter: Letter): ApiAnswer & { readonly kind: 'answer' } {
  const text = 'the delivery was given up'
  return letter.again ? unknown(text) : deferred(text, '4.4.2')
}

/** Surely not sent, in our own words. */
export function deferred(text: string, enhanced: string): ApiAnswer & { readonly kind: 'answer' } {
  return { kind: 'answer', outcome: 'deferred', code: 451, enhanced, text, remote: false }
}

/** What the provider said to a request that it refused. */
export function refusal(code: number, enhanced: string, text: string): ApiAnswer {
  return { kind: 'answer', outcome: code < 500 ? 'deferred' : 'failed', code, enhanced, text, remote: true }
}

export function sent(text: string): ApiAnswer {
  return { kind: 'answer', outcome: 'sent', code: 250, enhanced: '2.0.0', text, remote: true }
}

export function unknown(text: string): ApiAnswer & { readonly kind: 'answer' } {
  return { kind: 'answer', outcome: 'unknown', code: 421, enhanced: '4.4.2', text, remote: false }
}

/** The octets of a mail, whose own failure is told from all others. */
export async function* octetsOf(mail: OutgoingMail): AsyncGenerator<Uint8Array> {
  try {
    yield* mail.open()
  } catch (error) {
    throw new SourceFault(error)
  }
}

/** The first field of that lower-case name. */
export function fieldText(fields: readonly HeaderField[], key: string): string | null {
  return fields.find((field) => field.key === key)?.value ?? null
}

async function letterOf(delivery: Delivery, way: HeaderWay): Promise<Letter | null> {
  const fields = await readFields(delivery.mail)
  const addressing: Addressing =
    fields === null ? { kind: 'envelope', because: 'the header is too long' } : addressingOf(delivery, fields, way)
  if (addressing.kind === 'envelope' || fields === null) return null
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

function report(
  delivery: Delivery,
  { nextHop }: HeaderCourierParts,
  { outcome, code, enhanced, text, remote }: ApiAnswer & { readonly kind: 'answer' },
): Report {
  const words = printable(text)
  const results = delivery.recipients.map((recipient): RecipientResult => {
    return { recipient, outcome, code, enhanced, text: words, remote }
  })
  return { results, nextHop }
}
