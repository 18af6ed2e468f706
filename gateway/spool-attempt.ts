import type { ConfirmRequest, ConfirmResult } from '../protocol/gateway-api.ts'
import type { Address, EnvelopeId } from '../protocol/identifiers.ts'
import { type OutgoingMail, type RecipientResult, replyLine } from './courier.ts'
import { wishesOf } from './dsn.ts'
import type { IntakeRecipient } from './intake.ts'
import type { KeyServer } from './key-server.ts'
import type { Organization } from './organization.ts'
import { notDelivered, refusedHere } from './recipient-result.ts'
import type { SpoolEntry, Waiting } from './spool-entry.ts'

/** What one attempt made of a recipient. */
export type Fate =
  /** Is done with, here or through another gateway; `result` where it was now. */
  | { readonly kind: 'done'; readonly result: RecipientResult | null }
  /** For good; the sender is to hear of it before the key server does. */
  | { readonly kind: 'failed'; readonly result: RecipientResult }
  | { readonly kind: 'again'; readonly result: RecipientResult }
  /** The sender or an officer has taken it back: nobody is told. */
  | { readonly kind: 'revoked' }

export type Fates = ReadonlyMap<Address, Fate>

export type AttemptParts = { readonly keyServer: Pick<KeyServer, 'confirm'> }

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
  const { entry, waiting, org } = order
  const wanted = new Set(waiting.map(({ address }) => address))
  const left = entry.recipients.filter(({ address }) => wanted.has(address))
  const fates = new Map<Address, Fate>()
  const allowed = order.confirmed || entry.envelope === null ? left : await confirm(parts, entry, left, fates)
  if (allowed.length === 0) return fates
  const again = waiting.some(({ unknown }) => unknown)
  const results = await deliver(org, order, allowed, again)
  for (const [index, { address, mailbox }] of allowed.entries()) {
    fates.set(address, fateOf(results[index] ?? notDelivered(mailbox, 'it was not offered')))
  }
  return fates
}

/** What the next hop's answer means. */
export function fateOf(result: RecipientResult): Fate {
  switch (result.outcome) {
    case 'sent':
      return { kind: 'done', result }
    case 'failed':
      return { kind: 'failed', result }
    case 'deferred':
    case 'unknown':
      return { kind: 'again', result }
  }
}

async function deliver(
  org: Organization,
  { entry, open, signal }: AttemptOrder,
  recipients: readonly IntakeRecipient[],
  again: boolean,
): Promise<readonly RecipientResult[]> {
  const mailboxes = recipients.map(({ mailbox }) => mailbox)
  try {
    const report = await org.courier.deliver({
      sender: entry.sender?.mailbox ?? '',
      recipients: mailboxes,
      mail: { ...entry.mail, open },
      wishes: wishesOf(entry.wish, recipients),
      ...(entry.tls === undefined ? {} : { tls: entry.tls }),
      signal,
      // Nobody waits for us: the answer to the dot is worth waiting for.
      onDot: () => undefined,
      again,
    })
    return report.results
  } catch {
    return mailboxes.map((mailbox) => notDelivered(mailbox, 'the mail could not be read from the spool', '4.3.0'))
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
      return fate.result === null ? null : { outcome: 'sent', reply: replyLine(fate.result) }
    case 'failed':
      return { outcome: 'failed', reply: replyLine(fate.result) }
    case 'again':
      return { outcome: fate.result.outcome, reply: replyLine(fate.result) }
  }
}
