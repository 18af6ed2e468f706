import type { SealedParts } from './compose.ts'
import type { Framing } from './egress-header.ts'
import { ATTACHED, NOT_ATTACHED, type NoticeTemplates, UNNAMED } from './notice.ts'

/** A template as the last look reads it: literal, slot, literal, slot, …, literal. */
type Template = { readonly literals: readonly string[]; readonly slots: readonly string[] }
export type CompiledNotice = { readonly text: Template; readonly html: Template }

export function compileNotice(templates: NoticeTemplates): CompiledNotice {
  return { text: compile(templates.text), html: compile(templates.html) }
}

function compile(template: string): Template {
  const pieces = template.split(/\{\{(\w+)\}\}/)
  return { literals: pieces.filter((_, i) => i % 2 === 0), slots: pieces.filter((_, i) => i % 2 === 1) }
}

/** What is wrong with a body (latin1) from its first octet to the end of `attachmentHeader`, or to its end; null if nothing is. */
export function noticeFault(
  body: string,
  framing: Framing,
  compiled: CompiledNotice,
  parts: SealedParts,
  attachmentHeader: string,
): string | null {
  const inner = framing.type === 'mixed' ? mixedPart(body, framing.boundary, attachmentHeader) : null
  if (framing.type === 'mixed' && inner === null) return 'the parts of the mail are not the ones it has'
  const boundary = inner?.boundary ?? framing.boundary
  const match = PARTS.exec(inner?.text ?? body)
  if (match === null || match[1] !== boundary || match[4] !== boundary || match[6] !== boundary) {
    return 'the parts of the notice are not the ones it has'
  }
  const [, , encoding, coded = '', , html = ''] = match
  const text = Buffer.from(encoding === '7bit' ? coded : undoQuotedPrintable(coded), 'latin1').toString('utf8')
  return (
    templateFault(text, compiled.text, (name, value) => isTextSlot(name, value, parts)) ??
    templateFault(html, compiled.html, (name, value) => isHtmlSlot(name, value, parts))
  )
}

const PARTS = new RegExp(
  '^--(\\S+)\\r\\nContent-Type: text/plain; charset=utf-8\\r\\n' +
    'Content-Transfer-Encoding: (7bit|quoted-printable)\\r\\n\\r\\n([^]*?)\\r\\n' +
    '--(\\S+)\\r\\nContent-Type: text/html; charset=utf-8\\r\\nContent-Transfer-Encoding: 7bit\\r\\n\\r\\n' +
    '([^]*?)\\r\\n--(\\S+)--\\r\\n$',
)

function mixedPart(body: string, boundary: string, attachmentHeader: string) {
  const begin = `--${boundary}\r\nContent-Type: multipart/alternative;\r\n boundary="`
  const end = `\r\n--${boundary}\r\n${attachmentHeader}`
  if (!body.startsWith(begin) || !body.endsWith(end)) return null
  const rest = body.slice(begin.length, -end.length)
  const close = rest.indexOf('"\r\n\r\n')
  return close === -1 ? null : { boundary: rest.slice(0, close), text: rest.slice(close + 5) }
}

function templateFault(
  text: string,
  template: Template,
  allows: (name: string, value: string) => boolean,
): string | null {
  const [first = '', ...rest] = template.literals
  if (!text.startsWith(first)) return 'the notice is not the template'
  let at = first.length
  for (const [i, literal] of rest.entries()) {
    const name = template.slots[i] ?? ''
    const last = i === rest.length - 1
    const end = last ? text.length - literal.length : text.indexOf(literal, at)
    if (end < at || !text.startsWith(literal, end)) return 'the notice is not the template'
    if (!allows(name, text.slice(at, end))) return `the slot ${name} of the notice holds something else`
    at = end + literal.length
  }
  return at === text.length ? null : 'something follows the notice'
}

function isTextSlot(name: string, value: string, parts: SealedParts): boolean {
  switch (name) {
    case 'sender':
      return value === (parts.sender ?? `the mail system of ${parts.org}`)
    case 'organization':
      return value.length <= 100 && packed(parts.organization).startsWith(packed(value))
    case 'org':
      return value === parts.org
    case 'link':
      return (
        value === parts.link &&
        /^https?:\/\/[^\s/?#@]+\/m\/[\w-]{22}$/.test(value) &&
        value.endsWith(`/${parts.envelope}`)
      )
    case 'origin':
      return value !== '' && parts.link === `${value}m/${parts.envelope}`
    case 'expires':
      return isExpiry(value, parts)
    case 'openers':
      return value.split('\r\n').every((line) => line.startsWith('- ') && isOpener(line.slice(2), parts))
    case 'attachment':
      return value === (parts.sealed === null ? NOT_ATTACHED : ATTACHED)
    default:
      return false
  }
}

function isHtmlSlot(name: string, value: string, parts: SealedParts): boolean {
  if (name === 'openers') return value.split('<br>\r\n').every((line) => isOpener(unescaped(line) ?? '', parts))
  const text = unescaped(value)
  return text !== null && isTextSlot(name, text, parts)
}

/** The text of escaped HTML; null if it holds any markup. */
function unescaped(html: string): string | null {
  if (/[<>"'`]|&(?!#\d{1,7};)|[^\x20-\x7e\r\n]/.test(html)) return null
  return html.replace(/&#(\d+);/g, (_, code: string) =>
    Number(code) > 0x10ffff ? '' : String.fromCodePoint(Number(code)),
  )
}

function isOpener(line: string, parts: SealedParts): boolean {
  return line === UNNAMED || /^and \d{1,4} more$/.test(line) || parts.recipients.some((address) => address === line)
}

const EXPIRY = /^(\w+), (\d{1,2}) (\w+) (\d{4}), (\d\d:\d\d) UTC \((\d{1,6}) (days|hours|minutes) after it was sent\)$/
const weekday = new Intl.DateTimeFormat('en-US', { weekday: 'long', timeZone: 'UTC' })
const month = new Intl.DateTimeFormat('en-US', { month: 'long', timeZone: 'UTC' })
const units: Readonly<Record<string, number>> = { days: 86_400_000, hours: 3_600_000, minutes: 60_000 }

function isExpiry(value: string, parts: SealedParts): boolean {
  const match = EXPIRY.exec(value)
  if (match === null) return false
  const at = new Date(parts.expiresAt)
  const [, dayName, day, monthName, year, time, count, unit = ''] = match
  const left = Math.max(0, at.getTime() - parts.now.getTime())
  return (
    dayName === weekday.format(at) &&
    monthName === month.format(at) &&
    `${year}-${day?.padStart(2, '0')} ${time}` === at.toISOString().replace(/-\d\d-(\d\d)T(\d\d:\d\d).*/, '-$1 $2') &&
    Math.abs(Number(count) * (units[unit] ?? 0) - left) <= (units[unit] ?? 0) / 2 + 30_000
  )
}

function undoQuotedPrintable(text: string): string {
  return text
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
}

function packed(text: string): string {
  return text.replace(/[\p{C}\s]+/gu, '')
}
