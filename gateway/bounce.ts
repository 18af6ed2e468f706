import { createHash } from 'node:crypto'
import { type OrgId, parseAddress } from '../protocol/identifiers.ts'
import { bounceSubject, bounceWords, type ReportAction } from './bounce-words.ts'
import { type Delivery, type RecipientResult, replyLine } from './courier.ts'
import type { DeliveryWishes } from './dsn.ts'
import type { HeaderField } from './header.ts'
import { keepFields, mailDate } from './outgoing-header.ts'
import { quotedPrintable } from './quoted-printable.ts'

/** What a bounce tells, or a notice of a delay, a hold or of a mail passed on: RFC 3464, headers only. */
export type BounceParts = {
  /** `failed` if absent. */
  readonly action?: ReportAction
  /** What the client wished with MAIL and RCPT (RFC 3461), for Original-Envelope-Id and Original-Recipient. */
  readonly wishes?: DeliveryWishes
  /** With `delayed`: until when it is tried; with `held`: when it goes back. */
  readonly until?: Date
  readonly org: OrgId
  /** The organization's name for people. */
  readonly organization: string
  /** The gateway's own name, for Reporting-MTA and Message-ID. */
  readonly host: string
  /** Who gets it: the MAIL FROM of the mail, as to be written. A mail from `<>` is never bounced. */
  readonly sender: string
  /** Those whom it is about, at least one. */
  readonly failed: readonly RecipientResult[]
  /** Of the mail that could not be delivered; only those that stay outside are returned. */
  readonly fields: readonly HeaderField[]
  /** A whole field `Name: value` to mark it by, or null. */
  readonly stamp: string | null
  /** The name of the next hop that refused. */
  readonly nextHop: string
  readonly arrivedAt: Date
  readonly now: Date
}

/**
 * A multipart/report (RFC 6522) from `<>` to the sender, ready for the courier: in plain words what happened to whom and what to do, the same
 * for programs, and of the mail itself only header fields that were outside anyway.
 */
export function composeBounce(parts: BounceParts): Delivery {
  const id = bounceId(parts)
  const boundary = `=_sealpost-b-${id}`
  const returned = keepFields(parts.fields, false, false).lines.filter((line) => !line.startsWith('Received:'))
  const header = returned.join('')
  const utf8 = !isAscii(header + parts.sender + status(parts, true))
  // To whoever has an ASCII address it goes by any next hop: the one that took no such address must not stand in the way of saying so.
  const smtputf8 = !isAscii(parts.sender)
  const part = (type: string, body: string) => partOf(boundary, type, body, smtputf8)
  const text =
    bounceHeader(parts, id, boundary, smtputf8) +
    part('text/plain; charset=utf-8', bounceWords(parts)) +
    part(utf8 ? 'message/global-delivery-status' : 'message/delivery-status', status(parts, utf8)) +
    part(utf8 ? 'message/global-headers' : 'text/rfc822-headers', header === '' ? 'Subject:\r\n' : header) +
    `--${boundary}--\r\n`
  const octets = Buffer.from(text, 'utf8')
  return {
    sender: '',
    recipients: [parts.sender],
    // RFC 8689 5: what is said of a mail is protected as the mail is.
    ...(parts.wishes?.requireTls ? { wishes: { ret: null, envid: null, requireTls: true, of: new Map() } } : {}),
    mail: {
      size: octets.length,
      smtputf8,
      eightBit: smtputf8,
      async *open() {
        yield octets
      },
    },
  }
}

function bounceHeader(parts: BounceParts, id: string, boundary: string, eightBit: boolean): string {
  return [
    `From: Mail delivery at ${parts.org} <MAILER-DAEMON@${parts.org}>`,
    `To: ${parts.sender}`,
    `Subject: ${bounceSubject(parts.action ?? 'failed')}`,
    `Date: ${mailDate(parts.now)}`,
    `Message-ID: <${id}@${parts.host}>`,
    'Auto-Submitted: auto-replied',
    ...(parts.stamp === null ? [] : [parts.stamp]),
    'MIME-Version: 1.0',
    'Content-Type: multipart/report; report-type=delivery-status;',
    ` boundary="${boundary}"`,
    ...(eightBit ? ['Content-Transfer-Encoding: 8bit'] : []),
    '',
    '',
  ].join('\r\n')
}

function isAscii(text: string): boolean {
  return !/\P{ASCII}/u.test(text)
}

/** The same for every attempt to tell the same about one mail. */
function bounceId(parts: BounceParts): string {
  const digest = createHash('sha256').update(`sealpost/bounce/v1\n${parts.host}\n${parts.sender}\n`)
  if (parts.action !== undefined) digest.update(`${parts.action}\n`)
  for (const { recipient } of parts.failed) digest.update(`${recipient}\n`)
  for (const { key, raw } of parts.fields) if (key === 'message-id' || key === 'date') digest.update(raw)
  return digest.digest('base64url').slice(0, 22)
}

/** RFC 6533 5 and 6: what is for programs goes as 8bit wherever it can, else as quoted-printable. */
function partOf(boundary: string, type: string, body: string, eightBit: boolean): string {
  const coding = isAscii(body) ? null : eightBit && !type.startsWith('text/plain') ? '8bit' : 'quoted-printable'
  const field = coding === null ? '' : `Content-Transfer-Encoding: ${coding}\r\n`
  const octets = coding === 'quoted-printable' ? quotedPrintable(body) : body
  return `--${boundary}\r\nContent-Type: ${type}\r\n${field}\r\n${octets}\r\n`
}

/** RFC 3464 2.2 and 2.3; RFC 6533 where an address is not ASCII. */
function status(parts: BounceParts, utf8: boolean): string {
  const { action = 'failed', wishes } = parts
  const type = (address: string) => (utf8 && /[^\x20-\x7e]/.test(address) ? 'utf-8' : 'rfc822')
  const groups = parts.failed.map((result) => {
    const original = oneLine(wishes?.of.get(result.recipient)?.orcpt ?? null)
    return [
      ...(original === null ? [] : [`Original-Recipient: ${original}`]),
      `Final-Recipient: ${type(result.recipient)};${result.recipient}`,
      `Action: ${rfcActions[action]}`,
      `Status: ${statusOf(action, result)}`,
      ...(result.remote ? [`Remote-MTA: dns;${result.hop ?? parts.nextHop}`] : []),
      ...(result.remote ? [`Diagnostic-Code: smtp;${replyLine(result)}`] : []),
      `Last-Attempt-Date: ${mailDate(parts.now)}`,
      ...(parts.until === undefined ? [] : [`Will-Retry-Until: ${mailDate(parts.until)}`]),
      '',
    ].join('\r\n')
  })
  const envelope = oneLine(wishes?.envid ?? null)
  const message = [
    ...(envelope === null ? [] : [`Original-Envelope-Id: ${envelope}`]),
    `Reporting-MTA: dns;${parts.host}`,
    `Arrival-Date: ${mailDate(parts.arrivedAt)}`,
    '',
    '',
  ]
  return message.join('\r\n') + groups.join('\r\n')
}

/** RFC 3464 2.3.3. */
const rfcActions = {
  failed: 'failed',
  delayed: 'delayed',
  relayed: 'relayed',
  held: 'delayed',
  returned: 'failed',
} as const

function statusOf(action: ReportAction, { enhanced }: RecipientResult): string {
  const expected = { failed: 5, delayed: 4, relayed: 2 }[rfcActions[action]]
  return new RegExp(`^${expected}\\.\\d{1,3}\\.\\d{1,3}$`).test(enhanced) ? enhanced : `${expected}.0.0`
}

/** What came from a client may stand in a field only as one line of printable ASCII; null otherwise. */
function oneLine(text: string | null): string | null {
  return text !== null && /^[\x21-\x7e](?:[\x20-\x7e]{0,498}[\x21-\x7e])?$/.test(text) ? text : null
}

/** Whether a mail from there may be bounced at all: never to `<>`. */
export function isBounceable(sender: string | null): sender is string {
  return sender !== null && sender !== '' && parseAddress(sender) !== null
}
