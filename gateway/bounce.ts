import { createHash } from 'node:crypto'
import { type OrgId, parseAddress } from '../protocol/identifiers.ts'
import { type Delivery, type RecipientResult, replyLine } from './courier.ts'
import type { HeaderField } from './header.ts'
import { keepFields, mailDate } from './outgoing-header.ts'
import { quotedPrintable } from './quoted-printable.ts'

/** What a bounce tells: RFC 3464, headers only. */
export type BounceParts = {
  readonly org: OrgId
  /** The organization's name for people. */
  readonly organization: string
  /** The gateway's own name, for Reporting-MTA and Message-ID. */
  readonly host: string
  /** Who gets it: the MAIL FROM of the mail, as to be written. A mail from `<>` is never bounced. */
  readonly sender: string
  /** Those refused for good, at least one. */
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
  const utf8 = /\P{ASCII}/u.test(header + parts.sender + parts.failed.map((result) => result.recipient).join(''))
  const text =
    bounceHeader(parts, id, boundary) +
    part(boundary, 'text/plain; charset=utf-8', words(parts)) +
    part(boundary, utf8 ? 'message/global-delivery-status' : 'message/delivery-status', status(parts, utf8)) +
    part(boundary, utf8 ? 'message/global-headers' : 'text/rfc822-headers', header === '' ? 'Subject:\r\n' : header) +
    `--${boundary}--\r\n`
  const octets = Buffer.from(text, 'utf8')
  return {
    sender: '',
    recipients: [parts.sender],
    mail: {
      size: octets.length,
      smtputf8: utf8,
      eightBit: utf8,
      async *open() {
        yield octets
      },
    },
  }
}

function bounceHeader(parts: BounceParts, id: string, boundary: string): string {
  return [
    `From: Mail delivery at ${parts.org} <MAILER-DAEMON@${parts.org}>`,
    `To: ${parts.sender}`,
    'Subject: Your message was not delivered to everybody',
    `Date: ${mailDate(parts.now)}`,
    `Message-ID: <${id}@${parts.host}>`,
    'Auto-Submitted: auto-replied',
    ...(parts.stamp === null ? [] : [parts.stamp]),
    'MIME-Version: 1.0',
    'Content-Type: multipart/report; report-type=delivery-status;',
    ` boundary="${boundary}"`,
    '',
    '',
  ].join('\r\n')
}

/** The same for every attempt to tell the same about one mail. */
function bounceId(parts: BounceParts): string {
  const digest = createHash('sha256').update(`sealpost/bounce/v1\n${parts.host}\n${parts.sender}\n`)
  for (const { recipient } of parts.failed) digest.update(`${recipient}\n`)
  for (const { key, raw } of parts.fields) if (key === 'message-id' || key === 'date') digest.update(raw)
  return digest.digest('base64url').slice(0, 22)
}

function part(boundary: string, type: string, body: string): string {
  const plain = type.startsWith('text/plain') && /[^\r\n\x20-\x7e]/.test(body)
  const coded = plain ? 'Content-Transfer-Encoding: quoted-printable\r\n' : ''
  return `--${boundary}\r\nContent-Type: ${type}\r\n${coded}\r\n${plain ? quotedPrintable(body) : body}\r\n`
}

function words(parts: BounceParts): string {
  const lines = [
    'Your message could not be delivered to these addresses:',
    '',
    ...parts.failed.flatMap((result) => [
      `- ${result.recipient}`,
      `  ${advice(result)}`,
      `  ${result.remote ? `${parts.nextHop} said` : 'Reason'}: ${replyLine(result)}`,
      '',
    ]),
    'Nobody at these addresses can open it. It was delivered to, or is',
    'still under way to, any other address that you sent it to: do not',
    'send it to those again.',
    '',
    'Only the header of your message is returned with this notice.',
    '',
    `The mail gateway of ${parts.organization.replace(/[\p{C}\s]+/gu, ' ').slice(0, 100)} (${parts.org})`,
  ]
  return lines.map((line) => wrap(line)).join('\r\n')
}

/** What the sender can do, by the subject and detail of the RFC 3463 code. */
function advice(result: RecipientResult): string {
  const code = result.enhanced.slice(2)
  if (/^1\.[1236]$/.test(code)) return 'There is no such address. Check how it is written, then send again.'
  if (/^2\.2$/.test(code)) return 'The mailbox is full. Reach the person in another way, or try later.'
  if (/^(?:2\.3|3\.4)$/.test(code)) return 'The message is too large. Send it in smaller parts.'
  if (/^6\.7$/.test(code))
    return 'The address has letters that the next mail server cannot handle. Use another address.'
  if (/^7\./.test(code)) return 'The mail server does not accept it from you. Ask your administrator.'
  return 'The mail server refused it for good. Reach the person in another way, or ask your administrator.'
}

/** RFC 3464 2.2 and 2.3; RFC 6533 where an address is not ASCII. */
function status(parts: BounceParts, utf8: boolean): string {
  const type = (address: string) => (utf8 && /[^\x20-\x7e]/.test(address) ? 'utf-8' : 'rfc822')
  const groups = parts.failed.map((result) =>
    [
      `Final-Recipient: ${type(result.recipient)};${result.recipient}`,
      'Action: failed',
      `Status: ${/^5\.\d{1,3}\.\d{1,3}$/.test(result.enhanced) ? result.enhanced : '5.0.0'}`,
      ...(result.remote ? [`Remote-MTA: dns;${parts.nextHop}`] : []),
      ...(result.remote ? [`Diagnostic-Code: smtp;${replyLine(result)}`] : []),
      `Last-Attempt-Date: ${mailDate(parts.now)}`,
      '',
    ].join('\r\n'),
  )
  const message = [`Reporting-MTA: dns;${parts.host}`, `Arrival-Date: ${mailDate(parts.arrivedAt)}`, '', '']
  return message.join('\r\n') + groups.join('\r\n')
}

function wrap(line: string): string {
  return line.replace(/(.{1,200})(?: |$)/g, '$1\r\n').trimEnd()
}

/** Whether a mail from there may be bounced at all: never to `<>`. */
export function isBounceable(sender: string | null): sender is string {
  return sender !== null && sender !== '' && parseAddress(sender) !== null
}
