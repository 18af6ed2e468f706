import { type Address, parseAddress } from '../protocol/identifiers.ts'
import { parseAddressList } from './address-list.ts'
import type { Delivery } from './courier.ts'
import type { HeaderField } from './header.ts'

/**
 * How a mail may be handed over. Microsoft Graph and Gmail send to whoever stands in To, Cc and Bcc, from the mailbox that is asked: `header`
 * only where that is the same as the envelope.
 */
export type Addressing =
  | {
      readonly kind: 'header'
      readonly mailbox: Address
      /** Recipients that neither To nor Cc names: a Bcc field must. */
      readonly blind: readonly string[]
    }
  | {
      readonly kind: 'envelope'
      /** In words, for the log. */
      readonly because: string
    }

export type HeaderWay = {
  /** Those that may be sent from this way; null: every one. */
  readonly mailboxes: ReadonlySet<Address> | null
  /** Octets of one mail. */
  readonly size: number
}

/** Both clouds take so many recipients in one mail. */
const RECIPIENTS = 500
/** What may be written into a Bcc field, or into a request, as it is. */
const PLAIN = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+$/

/**
 * Pure: whether this delivery may go by its header. To and Cc must name nobody who is not a recipient of this very delivery; recipients that
 * they do not name go into a Bcc field, which the provider removes. MAIL FROM, the one address of From, and Sender (if any) must be the one
 * mailbox. What cannot be read is not guessed at: it goes by the envelope.
 */
export function addressingOf(
  delivery: Pick<Delivery, 'sender' | 'recipients' | 'mail' | 'wishes' | 'tls'>,
  fields: readonly HeaderField[],
  way: HeaderWay,
): Addressing {
  const envelope = (because: string): Addressing => ({ kind: 'envelope', because })
  const mailbox = PLAIN.test(delivery.sender) ? parseAddress(delivery.sender) : null
  if (mailbox === null) return envelope('MAIL FROM is no mailbox')
  if (way.mailboxes !== null && !way.mailboxes.has(mailbox))
    return envelope('the mailbox is not among those configured')
  if (delivery.mail.size > way.size) return envelope('the mail is too large')
  if (delivery.mail.smtputf8 || !delivery.recipients.every((recipient) => PLAIN.test(recipient))) {
    return envelope('an address needs SMTPUTF8 or quotes')
  }
  if (delivery.recipients.length > RECIPIENTS) return envelope('there are too many recipients')
  if (delivery.wishes?.requireTls || delivery.tls === 'recipient')
    return envelope('TLS is a must all the way, which no API promises')
  if (wishesForMore(delivery.wishes)) return envelope('the sender asked for a receipt, or for no report at all')
  if (fields.some((field) => field.key.startsWith('resent-'))) return envelope('the mail was resent')
  if (!isFrom(fields, mailbox)) return envelope('From or Sender is not the mailbox')
  const named = namedIn(fields)
  if (named === null) return envelope('To, Cc or Bcc cannot be read')
  const left = new Map(delivery.recipients.map((recipient) => [parseAddress(recipient), recipient]))
  for (const address of named) {
    if (!left.has(address)) return envelope('the header names somebody who is not a recipient of this delivery')
  }
  for (const address of named) left.delete(address)
  return { kind: 'header', mailbox, blind: [...left.values()] }
}

/** The field, folded, to stand first in the mail; '' where there is nobody to name. */
export function bccField(blind: readonly string[]): string {
  return blind.length === 0 ? '' : `Bcc: ${blind.join(',\r\n ')}\r\n`
}

/** More than what mailboxes are told of anyway: failures and delays (RFC 3461 4.1). */
function wishesForMore(wishes: Delivery['wishes']): boolean {
  const notify = [...(wishes?.of.values() ?? [])].flatMap((wish) => wish.notify ?? [])
  return notify.includes('SUCCESS') || notify.includes('NEVER')
}

function isFrom(fields: readonly HeaderField[], mailbox: Address): boolean {
  const from = fields.filter((field) => field.key === 'from')
  const senders = fields.filter((field) => field.key === 'sender')
  if (from.length !== 1 || senders.length > 1) return false
  return [...from, ...senders].every((field) => {
    const [only, ...more] = parseAddressList(field.value) ?? []
    return only === mailbox && more.length === 0
  })
}

/** Everybody in To, Cc and Bcc; null if some of it cannot be read. */
function namedIn(fields: readonly HeaderField[]): ReadonlySet<Address> | null {
  const named = new Set<Address>()
  for (const field of fields) {
    if (field.key !== 'to' && field.key !== 'cc' && field.key !== 'bcc') continue
    const addresses = parseAddressList(field.value)
    if (addresses === null) return null
    for (const address of addresses) named.add(address)
  }
  return named
}
