import { fields } from '../protocol/headers.ts'
import { domainOf } from '../protocol/identifiers.ts'
import { type OutboundFacts, type Policy, parseDuration } from '../rulebook/index.ts'
import { parseAddressList } from './address-list.ts'
import { fieldsOf, fieldValue, type Header } from './header.ts'
import type { Content, Mailbox } from './intake.ts'
import { isAttachment, type Part, readPart } from './mime-part.ts'
import { attachmentOf, readParts, readText } from './part-facts.ts'
import { NOT_SCANNED, type Scan } from './scan.ts'
import { readLabels } from './sensitivity-labels.ts'

export type MessageFacts = OutboundFacts['message']

/** No rule need see these. */
const secretNames = new Set([fields.tenant, fields.tenantX].map((name) => name.toLowerCase()))

/**
 * What the rules of `policy` can see of a message (rulebook/facts.ts), the same for all its recipients; what none of them looks at is not found
 * out. Whatever the octets are, it resolves, in time linear in their number; only a scratch file that cannot be read makes it reject, and the
 * end of `deadline` while a long text is looked through. `scan`: what a scanner said.
 */
export async function readFacts(
  content: Content,
  sender: Mailbox | null,
  { domains, reads }: Pick<Policy, 'domains' | 'reads'>,
  { scan = NOT_SCANNED, deadline }: { readonly scan?: Scan; readonly deadline?: AbortSignal } = {},
): Promise<MessageFacts> {
  const { header } = content
  const message = readPart(header)
  const { parts, malformed, whole, contents } = await readParts(content, message, reads)
  const { subject } = message
  const tags = readTags(subject)
  return {
    sender: sender?.address ?? '',
    senderDomain: sender === null ? '' : domainOf(sender.address),
    ...readFrom(header, domains),
    labels: readLabels(header),
    subject,
    tags,
    headers: readHeaders(header),
    size: content.size,
    attachments: parts.filter(isAttachment).map((part) => attachmentOf(part, contents.get(part))),
    scan,
    ...(await readText(reads, parts, contents, whole && !message.doubtful, deadline)),
    nullSender: sender === null,
    report: message.type === 'multipart/report',
    autoReply: isAutoReply(header),
    calendar: calendarOf(parts),
    list: isList(header),
    signed: parts.some((part) => part.within === 0 && isSigned(part)),
    // Who reads it in another way might find clear text.
    encrypted: isEncrypted(parts) && !malformed && !message.doubtful,
    malformed: malformed || message.doubtful,
    ttlWish: readTtlWish(header, tags),
  }
}

/** Every From field counts, although there may be only one (RFC 5322 3.6): a reader might show any of them. */
function readFrom(header: Header, domains: readonly string[]): Pick<MessageFacts, 'from' | 'foreignFrom'> {
  const lists = fieldsOf(header, 'from').map((field) => parseAddressList(field.value))
  const from = lists.flatMap((list) => list ?? [])
  const unreadable = from.length === 0 || lists.some((list) => list === null)
  return { from, foreignFrom: unreadable || from.some((address) => !domains.includes(domainOf(address))) }
}

function readHeaders(header: Header): Record<string, readonly string[]> {
  // Without a prototype, so that a field named `constructor` is a field like any other.
  const headers: Record<string, string[]> = Object.create(null)
  for (const { key, value } of header.fields) {
    if (key === '' || secretNames.has(key)) continue
    const values = headers[key]
    if (values === undefined) headers[key] = [value]
    else values.push(value)
  }
  return headers
}

function readTags(subject: string): string[] {
  const found = [...subject.matchAll(/\[([^[\]]{1,64})\]/g)]
  return found.map(([, tag = '']) => tag.trim().toLowerCase()).filter((tag) => tag !== '')
}

/** The header field counts before the subject's tag; a wish that cannot be read is none. */
function readTtlWish(header: Header, tags: readonly string[]): number {
  const tag = tags.find((text) => text.startsWith('ttl:'))?.slice(4)
  return parseDuration(fieldValue(header, fields.ttl) ?? '') ?? parseDuration(tag ?? '') ?? 0
}

/**
 * RFC 3834 5, and what mail programs say instead. `auto-generated` is none: an invoice that a program sends says so too; nor is
 * X-Auto-Response-Suppress, which asks others for silence.
 */
function isAutoReply(header: Header): boolean {
  if (/^auto-replied\b/i.test(fieldValue(header, 'auto-submitted')?.trim() ?? '')) return true
  if (precedence(header) === 'auto_reply') return true
  return ['x-autoreply', 'x-autorespond', 'x-auto-reply'].some((name) => fieldValue(header, name) !== null)
}

/** RFC 2369, RFC 2919, and the older Precedence. */
function isList(header: Header): boolean {
  return precedence(header) === 'list' || header.fields.some((field) => field.key.startsWith('list-'))
}

function precedence(header: Header): string {
  return (fieldValue(header, 'precedence') ?? '').toLowerCase()
}

/** RFC 6047 2.4: the method stands in the type's parameter; a calendar part without one publishes. */
function calendarOf(parts: readonly Part[]): string {
  const part = parts.find((one) => one.within === 0 && one.type === 'text/calendar')
  return part === undefined ? '' : (part.parameters.get('method')?.toLowerCase() ?? 'publish').slice(0, 64)
}

/** RFC 1847 2.1, RFC 8551 3.5. */
function isSigned(part: Part): boolean {
  return part.type === 'multipart/signed' || (isPkcs7(part) && smimeType(part) === 'signed-data')
}

/** RFC 3156 4, RFC 8551 3.3. The message as a whole: one encrypted attachment, or a part more, leaves the text beside it readable. */
function isEncrypted([message, control, sealed, ...more]: readonly Part[]): boolean {
  if (message === undefined) return false
  if (message.type !== 'multipart/encrypted') {
    return isPkcs7(message) && ['enveloped-data', 'authenveloped-data'].includes(smimeType(message))
  }
  return (
    control?.type === 'application/pgp-encrypted' && sealed?.type === 'application/octet-stream' && more.length === 0
  )
}

function isPkcs7(part: Part): boolean {
  return part.type === 'application/pkcs7-mime' || part.type === 'application/x-pkcs7-mime'
}

function smimeType(part: Part): string {
  return (part.parameters.get('smime-type') ?? '').toLowerCase()
}
