import type { ConfirmRequest, ConfirmResult } from '../protocol/gateway-api.ts'
import type { Address, EnvelopeId } from '../protocol/identifiers.ts'
import { isTooLarge, type KeptByLink, keptByLink } from './by-link.ts'
import type { Copies } from './copies.ts'
import { answerLine, type OutgoingMail, type RecipientResult } from './courier.ts'
import { wishesOf } from './dsn.ts'
import type { IntakeRecipient } from './intake.ts'
import type { KeyServer } from './key-server.ts'
import type { Organization } from './organization.ts'
import { notDelivered, refusedHere } from './recipient-result.ts'
import type { SpoolEntry, Waiting } from './spool-entry.ts'

/** What one attempt made of a recipient. */
export type Fate =
  /** Is done with, here or through another gateway, or was never accepted; `result` where it was now. */
  | { readonly kind: 'done'; readonly result: RecipientResult | null }
  /** For good; the sender is to hear of it before the key server does. */
  | { readonly kind: 'failed'; readonly result: RecipientResult }
  /** `byLink`: from now on by link, as the mail was too large. */
  | { readonly kind: 'again'; readonly result: RecipientResult; readonly byLink?: boolean }
  /** The sender or an officer has taken it back: nobody is told. */
  | { readonly kind: 'revoked' }

export type Fates = ReadonlyMap<Address, Fate>

export type AttemptParts = {
  readonly keyServer: Pick<KeyServer, 'confirm'>
  readonly copies: Pick<Copies, 'settle'>
}

export type AttemptOrder = {
  readonly org: Organization
  readonly entry: SpoolEntry
  /** Those of its recipients who are left. */
  readonly waiting: readonly Waiting[]
  readonly open: OutgoingMail['open']
  /** Gives up at once, whatever is under way. */
  readonly signal: AbortSignal
  /** It was confirmed just now, for just these recipients. */
  readonly confirmed: boolean
}

/**
 * Confirms and delivers once. What came of it is not recorded yet. Rejects, with nothing delivered, if the key server cannot be asked; never for
 * what the next hop does.
 */
export async function attemptEntry(parts: AttemptParts, order: AttemptOrder): Promise<Fates> {
  const { entry, waiting } = order
  const wanted = new Set(waiting.map(({ address }) => address))
  const left = entry.recipients.filter(({ address }) => wanted.has(address))
  const fates = new Map<Address, Fate>()
  const allowed = order.confirmed || entry.envelope === null ? left : await confirm(parts, entry, left, fates)
  if (allowed.length === 0) return fates
  const turned = new Set(waiting.flatMap((one) => (one.byLink === true ? [one.address] : [])))
  const whole = allowed.filter(({ address }) => !turned.has(address))
  const linked = allowed.filter(({ address }) => turned.has(address))
  const settled = linked.length === 0 || (entry.envelope !== null && (await parts.copies.settle(entry.envelope)))
  if (whole.length > 0) await deliver(order, whole, null, fates)
  if (linked.length === 0) return fates
  if (settled && entry.byLink !== undefined) await deliver(order, linked, entry.byLink, fates)
  else for (const { address, mailbox } of linked) fates.set(address, { kind: 'failed', result: withoutCopy(mailbox) })
  return fates
}

function withoutCopy(mailbox: string): RecipientResult {
  return refusedHere(mailbox, 552, '5.3.4', 'too large for the next hop, and what a link would lead to is gone')
}

/** What the next hop's answer means; `byLink`: there is a mail by link in the place of this one. */
export function fateOf(result: RecipientResult, byLink = false): Fate {
  switch (result.outcome) {
    case 'sent':
      return { kind: 'done', result }
    case 'failed':
      if (!byLink || !isTooLarge(result)) return { kind: 'failed', result }
      return { kind: 'again', result: { ...result, outcome: 'deferred' }, byLink }
    case 'deferred':
    case 'unknown':
      return { kind: 'again', result }
  }
}

/** Puts what comes of it into `fates`. `byLink`: this in the place of the whole mail. */
async function deliver(
  { org, entry, waiting, open, signal }: AttemptOrder,
  recipients: readonly IntakeRecipient[],
  byLink: KeptByLink | null,
  fates: Map<Address, Fate>,
): Promise<void> {
  const mailboxes = recipients.map(({ mailbox }) => mailbox)
  let results: readonly RecipientResult[]
  try {
    const report = await org.courier.deliver({
      envelope: entry.envelope,
      sender: entry.sender?.mailbox ?? '',
      recipients: mailboxes,
      mail: byLink === null ? { ...entry.mail, open } : keptByLink(byLink),
      wishes: wishesOf(entry.wish, recipients),
      ...(entry.tls === undefined ? {} : { tls: entry.tls }),
      signal,
      // Nobody waits for us: a line that is slow, and the answer to the dot, are worth waiting for.
      patient: true,
      onDot: () => undefined,
      again: waiting.some(({ unknown }) => unknown),
    })
    results = report.results
  } catch {
    results = mailboxes.map((mailbox) => notDelivered(mailbox, 'the mail could not be read from the spool', '4.3.0'))
  }
  for (const [index, { address, mailbox }] of recipients.entries()) {
    const result = results[index] ?? notDelivered(mailbox, 'it was not offered')
    fates.set(address, fateOf(result, byLink === null && entry.byLink !== undefined))
  }
}

/** Those who may be delivered to now; what is settled of the others goes into `fates`. */
async function confirm(
  parts: AttemptParts,
  entry: SpoolEntry,
  left: readonly IntakeRecipient[],
  fates: Map<Address, Fate>,
): Promise<readonly IntakeRecipient[]> {
  const { envelope } = entry
  if (envelope === null) return left
  const result = await parts.keyServer.confirm(request(entry, envelope, left))
  if (result.kind === 'confirmed') return left
  const [only, second] = left
  // One of them stands in the way: each is asked for on its own.
  if (only !== undefined && second !== undefined && (result.code === 'conflict' || result.code === 'already-sent')) {
    const each = await Promise.all(left.map((recipient) => confirm(parts, entry, [recipient], fates)))
    return each.flat()
  }
  for (const { address, mailbox } of left) fates.set(address, refusalOf(result, mailbox))
  return []
}

function request(entry: SpoolEntry, id: EnvelopeId, recipients: readonly IntakeRecipient[]): ConfirmRequest {
  return {
    org: entry.org,
    id,
    ...(entry.sealed ? { sealed: entry.sealed } : {}),
    recipients: recipients.map(({ address }) => address),
  }
}

function refusalOf({ code, detail }: Extract<ConfirmResult, { kind: 'refused' }>, mailbox: string): Fate {
  switch (code) {
    case 'already-sent':
    // Killed between the file and the confirmation: the client was told nothing, and has sent it another way.
    case 'never-confirmed':
      return { kind: 'done', result: null }
    case 'revoked':
      return { kind: 'revoked' }
    case 'expired':
    case 'not-found':
      return { kind: 'failed', result: refusedHere(mailbox, 554, '5.4.7', 'it expired before it could be delivered') }
    default:
      return {
        kind: 'again',
        result: notDelivered(mailbox, `the key server does not let it go now: ${detail}`, '4.3.0'),
      }
  }
}

/** What is told to the key server of a fate; null where there is nothing to tell. */
export function outcomeOf(fate: Fate): { readonly outcome: RecipientResult['outcome']; readonly reply: string } | null {
  switch (fate.kind) {
    case 'revoked':
      return { outcome: 'failed', reply: '554 5.7.1 revoked while it waited' }
    case 'done':
      return fate.result === null ? null : { outcome: 'sent', reply: answerLine(fate.result) }
    case 'failed':
      return { outcome: 'failed', reply: answerLine(fate.result) }
    case 'again':
      return { outcome: fate.result.outcome, reply: answerLine(fate.result) }
  }
}
