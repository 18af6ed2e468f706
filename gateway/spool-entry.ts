import { randomBytes } from 'node:crypto'
import type { ConfirmRequest } from '../protocol/gateway-api.ts'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { TlsDemand } from '../rulebook/index.ts'
import type { KeptByLink } from './by-link.ts'
import type { OutgoingMail, RecipientResult } from './courier.ts'
import type { MessageWish } from './dsn.ts'
import type { IntakeRecipient, Mailbox } from './intake.ts'

/** One mail for the recipients of one envelope, as it is written once: what of it changes is {@link SpoolState}. */
export type SpoolEntry = {
  /** The name of its file: {@link newSpoolId}, or for a notice a digest of what it says. */
  readonly id: string
  /** A notice is mail of our own to a sender: it has no envelope, and nobody is told if it fails. */
  readonly kind: 'message' | 'notice'
  readonly org: OrgId
  readonly envelope: EnvelopeId | null
  /** With a sealed mail, for its confirmation. */
  readonly sealed: NonNullable<ConfirmRequest['sealed']> | null
  /** MAIL FROM; null for `<>`. */
  readonly sender: Mailbox | null
  readonly recipients: readonly IntakeRecipient[]
  readonly wish: MessageWish
  /** TLS without which it may not leave, on any attempt. */
  readonly tls?: TlsDemand
  readonly mail: Omit<OutgoingMail, 'open'>
  /** In the place of the mail where the next hop finds that too large; absent: there is no other. */
  readonly byLink?: KeptByLink
  /** The header fields that a bounce returns, each with its line end. */
  readonly returned: string
  /** RFC 3339; its life is counted from here. */
  readonly arrivedAt: string
  /** Names the message in the log. */
  readonly intake: string
}

/** A recipient who is not done with. */
export type Waiting = {
  readonly address: Address
  /** What the last attempt said; null before the first. */
  readonly last: RecipientResult | null
  /** An attempt lost the answer to the content, so that the mail may have arrived. */
  readonly unknown: boolean
  /** The next hop found the mail too large: from then on the one by link is sent. */
  readonly byLink?: boolean
  /** How it ended, where only the key server is left to be told. */
  readonly settled: 'sent' | 'failed' | null
}

export type SpoolState = {
  readonly attempts: number
  /** Milliseconds since 1970. */
  readonly nextAt: number
  readonly held: boolean
  readonly delayTold: boolean
  readonly waiting: readonly Waiting[]
}

/** A recipient's address as the client wrote it. */
export function mailboxOf(entry: SpoolEntry, address: Address): string {
  return entry.recipients.find((one) => one.address === address)?.mailbox ?? address
}

/** 22 hex digits; never taken for an option on a command line. */
export function newSpoolId(): string {
  return randomBytes(11).toString('hex')
}

/** Before the first attempt. */
export function firstState(entry: SpoolEntry, now: number): SpoolState {
  const waiting = entry.recipients.map(({ address }) => ({ address, last: null, unknown: false, settled: null }))
  return { attempts: 0, nextAt: now, held: false, delayTold: false, waiting }
}

export type Pauses = {
  /** Before the second attempt, milliseconds. Each further pause is twice as long, */
  readonly firstMs: number
  /** up to this. */
  readonly mostMs: number
}

/** When to try again: `random` from 0 to 1 spreads the tries by a quarter, so that what failed together does not come back together. */
export function nextAttempt(attempts: number, now: number, pauses: Pauses, random: number): number {
  const pause = Math.min(pauses.mostMs, pauses.firstMs * 2 ** Math.min(30, Math.max(0, attempts - 1)))
  return now + Math.round(pause * (0.75 + random / 2))
}
