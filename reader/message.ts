import PostalMime, { type Address, type Attachment, type Email } from 'postal-mime'
import { keepAttachments } from './attachment-octets.ts'
import { mendFlowedText } from './flowed.ts'

/** One part of the text, shown on its own: parts are never joined, so that none can reach into another (EFAIL). */
export type Section =
  | { readonly kind: 'text'; readonly text: string }
  /** `text` is the sender's own plain alternative, or null. */
  | { readonly kind: 'html'; readonly html: string; readonly text: string | null }

export type SavedFile = { readonly name: string; readonly type: string; readonly octets: Uint8Array<ArrayBuffer> }

export type InlineImage = { readonly type: string; readonly octets: Uint8Array<ArrayBuffer> }

/** A message as the page shows it. Nothing in it is verified beyond being what was sealed. */
export type Message = {
  readonly subject: string
  /** As the message says, unverified: `name <address>`, or null. */
  readonly from: { readonly name: string; readonly address: string } | null
  readonly to: readonly string[]
  readonly cc: readonly string[]
  readonly sections: readonly Section[]
  readonly files: readonly SavedFile[]
  /** By content id without angle brackets. */
  readonly images: ReadonlyMap<string, InlineImage>
  /** Why the page cannot show it: encrypted again by the sender's own program, or signed in a form that is not read here. */
  readonly sealedAgain: 'smime' | 'smime-signed' | 'pgp' | null
}

/** The parser keeps every line by itself: millions of them would hold the page up for minutes. Base64 has longer lines than these. */
const SHORT_LINE = 40
const SHORT_LINES = 300_000

/** Reads a message (RFC 5322, MIME); null if it cannot be read. Messages inside the message stay files. */
export async function parseMessage(octets: Uint8Array<ArrayBuffer>): Promise<Message | null> {
  if (hasTooManyLines(octets)) return null
  try {
    const parser = new PostalMime({ forceRfc822Attachments: true, maxNestingDepth: 64 })
    keepAttachments(parser, octets)
    mendFlowedText(parser)
    const email = await parser.parse(octets)
    const sealedAgain = sealedAgainBy(email)
    const sections = sealedAgain === null ? sectionsOf(parser, email) : []
    const shown = picturesIn(sections)
    return {
      subject: email.subject ?? '',
      from: fromOf(email),
      to: (email.to ?? []).flatMap(mailboxes),
      cc: (email.cc ?? []).flatMap(mailboxes),
      sections,
      files: sealedAgain === null ? email.attachments.filter((one) => !isInline(one, shown)).map(fileOf) : [],
      images: new Map(email.attachments.flatMap(inlineImage)),
      sealedAgain,
    }
  } catch {
    // Nesting or header limits of the parser, or a fault in it: the message can still be saved as it is.
    return null
  }
}

function hasTooManyLines(octets: Uint8Array): boolean {
  let short = 0
  for (let start = 0, end = octets.indexOf(10); end !== -1; start = end + 1, end = octets.indexOf(10, start)) {
    if (end - start < SHORT_LINE && ++short > SHORT_LINES) return true
  }
  return false
}

type TextItem = { readonly type: string; readonly value: unknown }
type TextEntry = { readonly plain?: readonly TextItem[]; readonly html?: readonly TextItem[] }

/**
 * The text parts one by one. The parser's public answer joins all HTML parts into one string, which is what EFAIL lives on; its list of
 * parts is not in its types, so its shape is checked here, and without it only the sender's plain text is shown.
 */
function sectionsOf(parser: PostalMime, email: Email): Section[] {
  const { textMap } = parser as unknown as { readonly textMap?: unknown }
  if (!(textMap instanceof Map)) return email.text === undefined ? [] : [{ kind: 'text', text: email.text }]
  return [...(textMap as Map<unknown, TextEntry>).values()].flatMap((entry) => {
    const plain = textsOf(entry.plain)
    const html = textsOf(entry.html)
    if (html.length === 0) return plain.map((text): Section => ({ kind: 'text', text }))
    const text = plain.length === 0 ? null : plain.join('\n')
    return html.map((part, i): Section => ({ kind: 'html', html: part, text: i === 0 ? text : null }))
  })
}

function textsOf(items: readonly TextItem[] = []): string[] {
  return items.flatMap(({ value }) => (typeof value === 'string' && value.trim() !== '' ? [value] : []))
}

function fromOf(email: Email): Message['from'] {
  const [first] = email.from === undefined ? [] : flatten(email.from)
  return first === undefined ? null : first
}

function flatten(address: Address): { name: string; address: string }[] {
  if (address.group !== undefined) return address.group.flatMap(flatten)
  return [{ name: visible(address.name), address: visible(address.address ?? '') }]
}

function mailboxes(address: Address): string[] {
  return flatten(address).map(({ name, address }) => (name === '' ? address : `${name} <${address}>`))
}

function sealedAgainBy(email: Email): Message['sealedAgain'] {
  const type = email.headers.find(({ key }) => key === 'content-type')?.value.toLowerCase() ?? ''
  if (/^\s*application\/(?:x-)?pkcs7-mime\b/.test(type))
    return /;\s*smime-type\s*=\s*"?signed-data\b/.test(type) ? 'smime-signed' : 'smime'
  if (/^\s*multipart\/encrypted\b/.test(type)) return 'pgp'
  return /^\s*-----BEGIN PGP MESSAGE-----/.test(email.text ?? '') ? 'pgp' : null
}

/** The content ids of the pictures that the text shows. */
function picturesIn(sections: readonly Section[]): ReadonlySet<string> {
  const html = sections.flatMap((section) => (section.kind === 'html' ? [section.html] : []))
  const sources = html.flatMap((one) => [...one.matchAll(/\bsrc\s*=\s*["']?\s*cid:([^"'\s>]+)/gi)])
  return new Set(sources.map(([, cid = '']) => decodeCid(cid)))
}

/** What no text shows is a file, or nobody would see it. */
function isInline({ related, disposition, mimeType, contentId }: Attachment, shown: ReadonlySet<string>): boolean {
  return related === true && disposition !== 'attachment' && isImage(mimeType) && shown.has(idIn(contentId))
}

function idIn(contentId = ''): string {
  return contentId.replace(/^<|>$/g, '')
}

/** The content id in what follows `cid:` (RFC 2392). */
export function decodeCid(cid: string): string {
  try {
    return decodeURIComponent(cid)
  } catch {
    // Not percent-encoded after all.
    return cid
  }
}

/** SVG is left out: it is a document, not a picture. */
function isImage(type: string): boolean {
  return /^image\/(?:png|jpe?g|gif|webp|bmp|avif)$/.test(type)
}

function inlineImage(attachment: Attachment): [string, InlineImage][] {
  const { contentId, mimeType } = attachment
  if (contentId === undefined || !isImage(mimeType)) return []
  return [[idIn(contentId), { type: mimeType, octets: octetsOf(attachment) }]]
}

/** For files without a name, so that the device knows what to open them with. */
const ENDINGS: ReadonlyMap<string, string> = new Map([
  ['message/rfc822', '.eml'],
  ['text/calendar', '.ics'],
  ['text/vcard', '.vcf'],
  ['application/pdf', '.pdf'],
  ['image/jpeg', '.jpg'],
  ['image/png', '.png'],
  ['image/gif', '.gif'],
])

function fileOf(attachment: Attachment, index: number): SavedFile {
  const { mimeType, filename } = attachment
  const kind = mimeType === 'message/rfc822' ? 'message' : 'attachment'
  const fallback = `${kind}-${index + 1}${ENDINGS.get(mimeType) ?? ''}`
  return { name: safeName(filename ?? '') || fallback, type: mimeType, octets: octetsOf(attachment) }
}

function octetsOf({ content }: Attachment): Uint8Array<ArrayBuffer> {
  return typeof content === 'string' ? new TextEncoder().encode(content) : new Uint8Array(content)
}

/** A file name that is one, and that reads as what it is: no folders, no control or direction characters, nothing unseen, bounded. */
export function safeName(name: string): string {
  const cleaned = visible(name)
    // A gap may push the ending out of sight. U+2800 is a braille cell without dots.
    .replace(/[\s\u2800]+/g, ' ')
    .replace(/[\\/:*?"<>|]/g, '_')
    .replace(/^[\s.]+|[\s.]+$/g, '')
  return cleaned.length <= 120 ? cleaned : `${cleaned.slice(0, 90)}…${cleaned.slice(-25)}`
}

/** Text without the characters that hide or turn what stands beside them. */
function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu, '')
}
