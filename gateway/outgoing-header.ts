import { createHash } from 'node:crypto'
import { fields as names } from '../protocol/headers.ts'
import { defaultNotice } from '../rulebook/index.ts'
import type { SealedParts } from './compose.ts'
import { type HeaderField, parseHeader } from './header.ts'
import { isKept, rowOf } from './header-table.ts'
import { keptField, textWords, writeField } from './kept-field.ts'

/** The header of a sealed mail as far as it does not depend on its body, each field with its CRLF. */
export function composeHeader(parts: SealedParts): string {
  const { lines, seen } = keepFields(parts.fields, parts.towardsMicrosoft, parts.subject !== undefined)
  if (parts.subject !== undefined) lines.push(writeField('Subject', textWords(parts.subject)) ?? '')
  if (!seen.has('from')) lines.push(`From: ${parts.sender ?? `MAILER-DAEMON@${parts.org}`}\r\n`)
  if (!seen.has('date')) lines.push(`Date: ${mailDate(parts.now)}\r\n`)
  if (!seen.has('message-id')) lines.push(`Message-ID: <${madeMessageId(parts)}>\r\n`)
  const { languages } = parts.notice ?? defaultNotice
  return (
    `Received: ${parts.received}\r\n${lines.join('')}${names.handled}: ${parts.handled}\r\n` +
    `MIME-Version: 1.0\r\nContent-Language: ${languages.join(', ')}\r\n`
  )
}

/** The kept fields in their order, as they go out, and the lower-case names of those that are there. */
export function keepFields(
  fields: readonly HeaderField[],
  towardsMicrosoft: boolean,
  replacedSubject: boolean,
): { readonly lines: string[]; readonly seen: ReadonlySet<string> } {
  const lines: string[] = []
  const seen = new Set<string>()
  for (const field of fields) {
    const row = rowOf(field.key)
    if (!isKept(row, towardsMicrosoft)) continue
    if (row.keeps === 'first' && seen.has(field.key)) continue
    if (replacedSubject && field.key === 'subject') continue
    const line = keptField(field, row.shape)
    if (line === null) continue
    seen.add(field.key)
    lines.push(line)
  }
  return { lines, seen }
}

/** The fields of a message as they may be shown outside: with `subject` in the place of its own, unless that is null. */
export function withSubject(fields: readonly HeaderField[], subject: string | null): readonly HeaderField[] {
  if (subject === null) return fields
  const written = Buffer.from(writeField('Subject', textWords(subject)) ?? '', 'latin1')
  return [...fields.filter(({ key }) => key !== 'subject'), ...(parseHeader(written)?.fields ?? [])]
}

/** RFC 5322 3.3, in UTC. */
export function mailDate(at: Date): string {
  return at.toUTCString().replace('GMT', '+0000')
}

/** The same for every attempt to send one envelope, and telling nothing about it: the id is no secret, but a link. */
function madeMessageId(parts: SealedParts): string {
  const digest = createHash('sha256').update(`sealpost/message-id/v1\n${parts.envelope}`).digest('base64url')
  return `${digest.slice(0, 22)}@${parts.org}`
}
