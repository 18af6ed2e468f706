import { isAscii } from 'node:buffer'
import type { Lent } from '../envelope/lent.ts'
import { type Address, type EnvelopeId, type OrgId, parseAddress } from '../protocol/identifiers.ts'
import { defaultNotice, type NoticeChoice } from '../rulebook/index.ts'
import { base64Size, base64Stream } from './base64-lines.ts'
import type { OutgoingMail, Reading } from './courier.ts'
import { type HeaderField, reachesNoRecipient } from './header.ts'
import { listedAddresses } from './listed-address.ts'
import { type Notice, renderNotice } from './notice.ts'
import type { NoticeTemplates } from './notice-template.ts'
import { ATTACHMENT_NAME } from './notice-words.ts'
import { composeHeader } from './outgoing-header.ts'
import { longestLine, quotedPrintable } from './quoted-printable.ts'
import type { SealedCopy } from './sealing.ts'

/** All that a sealed mail is built from; the egress look gets the same. */
export type SealedParts = {
  readonly org: OrgId
  /** The organization's name for people. */
  readonly organization: string
  readonly envelope: EnvelopeId
  /** https://<host>/m/<id> */
  readonly link: string
  /** RFC 3339 */
  readonly expiresAt: string
  /** The proven sender, null for `<>`. */
  readonly sender: Address | null
  /** Of this envelope. The notice names those of them that stand in To or Cc. */
  readonly recipients: readonly Address[]
  /** Every field of the accepted message, in order; the header table picks. */
  readonly fields: readonly HeaderField[]
  /** The value of our own Received field, without its name; may hold folds. */
  readonly received: string
  /** The value of the loop stamp Sealpost-Handled. */
  readonly handled: string
  /** What policy puts in the subject's place; absent: the subject is kept. */
  readonly subject?: string
  /** What policy says of the notice; absent: built in, in English. */
  readonly notice?: NoticeChoice
  /** X-MS-Exchange-* and X-LD-Processed are kept only here. */
  readonly towardsMicrosoft: boolean
  /** The envelope to attach; null where the mail does not carry it. */
  readonly sealed: SealedCopy | null
  readonly now: Date
}

/** All that a passed mail is built from. */
export type PassParts = {
  readonly received: string
  readonly handled: string
  /** Of the header as accepted; those that must reach no recipient are removed. */
  readonly fields: readonly HeaderField[]
  /** The octets after the header, beginning with the empty line's CRLF (nothing where there is no body). */
  readonly body: () => Lent
  readonly bodySize: number
  /** Octets above 127 in the body. */
  readonly eightBit: boolean
  /** The client asked for SMTPUTF8: a header with octets above 127 is UTF-8 and needs it at the next hop. */
  readonly smtpUtf8: boolean
}

export type Composer = {
  /** The outgoing mail around a sealed copy: docs/format.md, "The outgoing mail". */
  sealed(parts: SealedParts): OutgoingMail
  /** The notice alone, as it stands in that mail. */
  notice(parts: SealedParts): Notice
  /** Received and the loop stamp, then the message as accepted less the fields that must reach no recipient. */
  passed(parts: PassParts): OutgoingMail
}

/** The type of the attachment. */
export const ATTACHMENT_TYPE = 'application/vnd.sealpost'

export function createComposer(templates: NoticeTemplates): Composer {
  return {
    sealed: (parts) => composeSealed(templates, parts),
    notice: (parts) => noticeOf(templates, parts),
    passed: composePassed,
  }
}

function composeSealed(templates: NoticeTemplates, parts: SealedParts): OutgoingMail {
  const { sealed, envelope } = parts
  const alternative = alternativePart(templates, parts)
  const header = composeHeader(parts)
  if (sealed === null) {
    const only = Buffer.from(`${header}${alternative}`, 'utf8')
    return {
      size: only.length,
      smtputf8: !isAscii(only),
      eightBit: false,
      open: () => inOrder(only, null, null, 'kept'),
    }
  }
  const boundary = `=_sealpost-m-${envelope}`
  const head = Buffer.from(
    `${header}Content-Type: multipart/mixed;\r\n boundary="${boundary}"\r\n\r\n` +
      `--${boundary}\r\n${alternative}\r\n--${boundary}\r\n` +
      `Content-Type: ${ATTACHMENT_TYPE};\r\n name="${ATTACHMENT_NAME}"\r\n` +
      'Content-Transfer-Encoding: base64\r\n' +
      `Content-Disposition: attachment;\r\n filename="${ATTACHMENT_NAME}"\r\n\r\n`,
    'utf8',
  )
  const tail = Buffer.from(`--${boundary}--\r\n`, 'latin1')
  return {
    size: head.length + base64Size(sealed.sealedSize) + tail.length,
    smtputf8: !isAscii(head),
    eightBit: false,
    open: (reading = 'kept') => inOrder(head, sealed, tail, reading),
  }
}

async function* inOrder(
  head: Uint8Array,
  sealed: SealedCopy | null,
  tail: Uint8Array | null,
  reading: Reading,
): AsyncGenerator<Uint8Array> {
  yield head
  if (sealed !== null) yield* base64Stream(sealed.chunks(), sealed.sealedSize, reading)
  if (tail !== null) yield tail
}

/** multipart/alternative with its own header: the notice as text, and as HTML. */
function alternativePart(templates: NoticeTemplates, parts: SealedParts): string {
  const boundary = `=_sealpost-a-${parts.envelope}`
  const notice = noticeOf(templates, parts)
  return (
    `Content-Type: multipart/alternative;\r\n boundary="${boundary}"\r\n\r\n` +
    `--${boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n${encoded(notice.text)}\r\n` +
    `--${boundary}\r\nContent-Type: text/html; charset=utf-8\r\n${encoded(notice.html)}\r\n--${boundary}--\r\n`
  )
}

function noticeOf(templates: NoticeTemplates, parts: SealedParts): Notice {
  const template = templates.of(parts.notice ?? defaultNotice)
  return renderNotice(template, { ...parts, openers: openersOf(parts), attached: parts.sealed !== null })
}

/** The text of a part with the field that says how it is written: as it is where it can stand so (RFC 2045 2.7). */
function encoded(text: string): string {
  const plain = !/[^\r\n\x20-\x7e]/.test(text) && longestLine(text) <= 998
  const encoding = plain ? '7bit' : 'quoted-printable'
  return `Content-Transfer-Encoding: ${encoding}\r\n\r\n${plain ? text : quotedPrintable(text)}`
}

/** Those of the envelope's recipients that To and Cc name already, so that no blind recipient is told of. */
export function openersOf(parts: Pick<SealedParts, 'fields' | 'recipients'>): Address[] {
  const known = new Set(parts.recipients)
  const openers = new Set<Address>()
  for (const field of parts.fields) {
    if (field.key !== 'to' && field.key !== 'cc') continue
    for (const listed of listedAddresses(field.value)) {
      const address = parseAddress(listed.address)
      if (address !== null && known.has(address)) openers.add(address)
    }
  }
  return [...openers]
}

function composePassed(parts: PassParts): OutgoingMail {
  const stamps = Buffer.from(`Received: ${parts.received}\r\nSealpost-Handled: ${parts.handled}\r\n`, 'latin1')
  const kept = parts.fields.filter((field) => !reachesNoRecipient(field.key)).map((field) => field.raw)
  const header = Buffer.concat([stamps, ...kept])
  const eightBitHeader = !isAscii(header)
  return {
    size: header.length + parts.bodySize,
    smtputf8: parts.smtpUtf8 && eightBitHeader,
    eightBit: parts.eightBit || eightBitHeader,
    async *open(reading = 'kept') {
      yield header
      for await (const piece of parts.body()) yield reading === 'lent' ? piece : Buffer.from(piece)
    },
  }
}
