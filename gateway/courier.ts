import type { EnvelopeId } from '../protocol/identifiers.ts'
import type { TlsDemand } from '../rulebook/index.ts'
import type { DeliveryWishes } from './dsn.ts'

/**
 * The way out of the house. A courier takes one mail for some recipients and says, recipient by recipient, what became of it.
 * It never sends one mail twice by itself.
 */

/** Whether octets are good for as long as somebody keeps them, or lent (envelope/lent.ts), which is faster. */
export type Reading = 'kept' | 'lent'

/** A mail as it goes out: its octets with CRLF line ends and no dot-stuffing, in chunks, as often as asked. */
export type OutgoingMail = {
  /** Octets before dot-stuffing. */
  readonly size: number
  /** The header holds addresses that ASCII cannot carry: the next hop must offer SMTPUTF8 (RFC 6531). */
  readonly smtputf8: boolean
  /** Octets above 127: the next hop must offer 8BITMIME (RFC 6152). Null: not looked; who needs to know reads the mail. */
  readonly eightBit: boolean | null
  /** Kept if nothing else is asked for. A failure of this stream ends the delivery before the final dot: nothing is delivered then. */
  open(reading?: Reading): AsyncIterable<Uint8Array>
}

export type Delivery = {
  /** MAIL FROM, '' for `<>`. */
  readonly sender: string
  /** RCPT TO, at least one. */
  readonly recipients: readonly string[]
  readonly mail: OutgoingMail
  /** For the log; null or absent with mail of our own. */
  readonly envelope?: EnvelopeId | null
  /** Gives up early: `deferred` before DATA, `unknown` after. */
  readonly signal?: AbortSignal
  /** An earlier attempt at these recipients may have reached them: a courier that can look does so before it sends. */
  readonly again?: boolean
  /** What the sender wished to be told (RFC 3461), for a next hop that offers DSN; and whether TLS is a must all the way (RFC 8689). */
  readonly wishes?: DeliveryWishes
  /** TLS without which this mail may not leave; it is then deferred, or failed where there can be none. */
  readonly tls?: TlsDemand
  /**
   * Said right before the last octets leave. From then on the budget no longer ends the delivery, only the answer to the dot does, or ten minutes
   * without one: whoever gives this can wait for it. Said again for each further mail that more recipients need.
   */
  readonly onDot?: () => void
  /** Nobody waits for it: once the next hop is greeted no budget ends it, only a step that takes longer than RFC 5321 4.5.3.2 grants. */
  readonly patient?: boolean
}

/**
 * `sent`: the next hop took it. `deferred`: refused for now (4xx), or never offered; surely not delivered. `failed`: refused for
 * good (5xx). `unknown`: the answer to the content was lost.
 */
export type Outcome = 'sent' | 'deferred' | 'failed' | 'unknown'

export type RecipientResult = {
  readonly recipient: string
  readonly outcome: Outcome
  /** The reply code; 421 where there was no answer. */
  readonly code: number
  /** RFC 3463 code such as `5.1.1`: the next hop's, or made from the reply code. */
  readonly enhanced: string
  /** One line of printable ASCII, without the codes, at most 400 characters; of a mail that an officer sent back, the officer's own words. */
  readonly text: string
  /** False where the words are ours and not the next hop's. */
  readonly remote: boolean
  /** Who said it, where that is not the report's next hop. */
  readonly hop?: string
  /** The next hop will tell the sender of its success, where that is wished (RFC 3461). */
  readonly dsn?: boolean
}

export type Report = {
  /** In the order of `Delivery.recipients`. */
  readonly results: readonly RecipientResult[]
  /** The name of the next hop. */
  readonly nextHop: string
}

/** What the next hop offered when it was last greeted. */
export type Capabilities = {
  readonly smtputf8: boolean
  readonly eightBitMime: boolean
  readonly pipelining: boolean
  /** Largest message, octets; null where it names none. */
  readonly size: number | null
  /** MAIL may bear SIZE=. */
  readonly offersSize: boolean
  /** Delivery status notifications (RFC 3461). */
  readonly dsn: boolean
  /** REQUIRETLS (RFC 8689), said over verified TLS. */
  readonly requireTls?: boolean
  readonly tls: boolean
  /** Over TLS whose other side is proven to be the next hop. */
  readonly verified?: boolean
}

export type Courier = {
  /**
   * Resolves with every recipient's result, whatever the next hop does. Rejects only with the error of `mail.open()`'s own stream;
   * then nothing was delivered.
   */
  deliver(delivery: Delivery): Promise<Report>
  /** Null until the next hop was first reached. */
  capabilities(): Capabilities | null
  /**
   * Those of the domains whose own hosts a delivery with `tls: 'recipient'` reaches over verified TLS, as far as that is promised now; absent where
   * it cannot be known. What is not found out by the end of `signal` is left out. Never rejects.
   */
  safeDomains?(domains: readonly string[], signal: AbortSignal): Promise<ReadonlySet<string>>
  /** Lets what is under way end, then says QUIT. */
  close(): Promise<void>
}

/** The result as one line, as it stands in logs and outcomes: `550 5.1.1 no such mailbox`; at most 512 characters. */
export function replyLine(result: RecipientResult): string {
  return `${result.code} ${result.enhanced} ${result.text}`.trim().slice(0, 512)
}

/** The same with the name of who said it, where mail goes to many; for the log and for whoever handed the mail in. */
export function answerLine(result: RecipientResult): string {
  const by = result.hop === undefined ? '' : ` (${result.hop})`
  return `${replyLine(result).slice(0, 512 - by.length)}${by}`
}
