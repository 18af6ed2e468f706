import { createHash } from 'node:crypto'
import { composeBounce, isBounceable } from './bounce.ts'
import type { ReportAction } from './bounce-words.ts'
import type { OutgoingMail, RecipientResult } from './courier.ts'
import { type MessageWish, wants, wishesOf } from './dsn.ts'
import { type HeaderField, parseHeader } from './header.ts'
import type { Intake, IntakeRecipient, Mailbox } from './intake.ts'
import type { Organization } from './organization.ts'
import { keepFields } from './outgoing-header.ts'
import type { SpoolEntry } from './spool-entry.ts'

/** What a notice to a sender is about; an entry of the spool is one. */
export type Subject = Pick<SpoolEntry, 'sender' | 'recipients' | 'wish' | 'returned' | 'arrivedAt' | 'intake'>

export type NoticeOptions = {
  readonly org: Organization
  /** Our own name. */
  readonly host: string
  readonly action: ReportAction
  readonly results: readonly RecipientResult[]
  /** With `delayed` and `held`. */
  readonly until?: Date
  readonly now: Date
}

/** Puts a notice to the sender into the spool, where one is wished; gives its id, durable then, or null. */
export type TellSender = (
  subject: Subject,
  org: Organization,
  action: ReportAction,
  results: readonly RecipientResult[],
  until?: Date,
) => Promise<string | null>

export type SpoolNotice = { readonly entry: SpoolEntry; readonly mail: OutgoingMail }

/** Who wishes to hear of one of these is told. RFC 3461 knows of no mail that is held: it is late, and may fail. */
const events = {
  failed: ['FAILURE'],
  delayed: ['DELAY'],
  relayed: ['SUCCESS'],
  held: ['DELAY', 'FAILURE'],
  returned: ['FAILURE'],
} as const

/** The message that came, as a notice about it needs it. `outside` are its fields as they may be given back. */
export function subjectOf(intake: Intake, outside: readonly HeaderField[]): Subject {
  const { sender, recipients, wish, receivedAt, id } = intake
  const returned = returnedFields(outside)
  return { sender, recipients, wish, returned, arrivedAt: receivedAt.toISOString(), intake: id }
}

/** The fields that stay outside, without Received: all of the mail that a notice gives back. */
export function returnedFields(fields: readonly HeaderField[]): string {
  const { lines } = keepFields(fields, false, false)
  return lines.filter((line) => !line.startsWith('Received:')).join('')
}

/**
 * A notice to the sender for the spool, about those recipients of whom the sender wants to hear (RFC 3461 4.1); null where there are none, or
 * nobody to tell. The same for every attempt to tell the same, its id included, so that it takes its own place in the spool.
 */
export function noticeFor(subject: Subject, options: NoticeOptions): SpoolNotice | null {
  const { sender } = subject
  const { org, action, now } = options
  const byMailbox = new Map(subject.recipients.map((recipient) => [recipient.mailbox, recipient]))
  const results = options.results.filter(({ recipient }) => {
    const notify = byMailbox.get(recipient)?.notify ?? null
    return events[action].some((event) => wants(notify, event))
  })
  if (sender === null || results.length === 0 || !isBounceable(sender.mailbox)) return null
  const { mail } = composeBounce({
    ...{ org: org.id, organization: org.name, host: options.host, sender: sender.mailbox, failed: results },
    ...(action === 'failed' ? {} : { action }),
    ...(options.until === undefined ? {} : { until: options.until }),
    wishes: wishesOf(subject.wish, subject.recipients),
    fields: parseHeader(Buffer.from(subject.returned, 'utf8'))?.fields ?? [],
    stamp: null,
    nextHop: org.nextHop,
    arrivedAt: new Date(subject.arrivedAt),
    now,
  })
  const id = noticeId(subject.intake, action, results)
  const entry = entryOf(id, org, sender, mail, subject.intake, now)
  // RFC 8689 5: what is said of a mail is protected as the mail is.
  return { mail, entry: subject.wish.requireTls ? { ...entry, wish: { ...entry.wish, requireTls: true } } : entry }
}

function entryOf(
  id: string,
  org: Organization,
  to: Mailbox,
  mail: OutgoingMail,
  intake: string,
  now: Date,
): SpoolEntry {
  const { size, smtputf8, eightBit } = mail
  const recipient: IntakeRecipient = { address: to.address, mailbox: to.mailbox, notify: ['NEVER'], orcpt: null }
  const none: MessageWish = { ret: null, envid: null }
  return {
    ...{ id, kind: 'notice', org: org.id, envelope: null, sealed: null, sender: null, recipients: [recipient] },
    ...{ wish: none, mail: { size, smtputf8, eightBit }, returned: '', arrivedAt: now.toISOString(), intake },
  }
}

function noticeId(intake: string, action: ReportAction, results: readonly RecipientResult[]): string {
  const digest = createHash('sha256').update(`sealpost/notice/v1\n${intake}\n${action}\n`)
  for (const { recipient } of results) digest.update(`${recipient}\n`)
  return digest.digest('hex').slice(0, 22)
}
