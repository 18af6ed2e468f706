import { type NoticeLanguage, noticeLanguages } from '../rulebook/index.ts'
import type { SealedParts } from './compose.ts'
import type { Slot } from './notice-template.ts'
import { noticeWords } from './notice-words.ts'

/** Where the value of a slot that stands at `at` ends; null if what stands there is not what the slot may hold. */
export type EndOf = (slot: Slot, body: string, at: number, parts: SealedParts) => number | null

/** In text. */
export const endInText: EndOf = ({ slot, language }, text, at, parts) => {
  if (slot === 'recipients') return endOfList(text, at, parts, language)
  const value =
    slot === 'expires' ? expiryAt(text.slice(at, at + 200), parts, language) : expected(slot, parts, language)
  return value !== null && text.startsWith(value, at) ? at + value.length : null
}

/** In HTML, where every character that HTML knows is written as a number. */
export const endInHtml: EndOf = ({ slot, language }, html, at, parts) => {
  if (slot === 'recipients') return endOfHtmlList(html, at, parts, language)
  if (slot !== 'expires') {
    const value = expected(slot, parts, language)
    return value === null ? null : endOfEscaped(html, at, value)
  }
  const value = expiryAt(withoutNumbers(html.slice(at, at + 600)), parts, language)
  return value === null ? null : endOfEscaped(html, at, value)
}

/** What the slot must hold, to the letter; null for none of these names. */
function expected(slot: string, parts: SealedParts, language: NoticeLanguage): string | null {
  const words = noticeWords[language]
  switch (slot) {
    case 'sender':
      return parts.sender ?? words.system(parts.org)
    case 'organization':
      return nameOf(parts.organization)
    case 'domain':
      return parts.org
    case 'link':
      return isLink(parts) ? parts.link : null
    case 'origin':
      return isLink(parts) ? parts.link.slice(0, -`m/${parts.envelope}`.length) : null
    case 'attachment':
      return parts.sealed === null ? words.notAttached : words.attached
    default:
      return null
  }
}

function isLink({ link, envelope }: SealedParts): boolean {
  return /^https?:\/\/[^\s/?#@]+\/m\/[\w-]{22}$/.test(link) && link.endsWith(`/m/${envelope}`)
}

function nameOf(organization: string): string {
  const words = organization.split(/[\p{C}\s]/u).filter((word) => word !== '')
  return (/^.{0,100}/su.exec(words.join(' '))?.[0] ?? '').trimEnd()
}

function endOfList(text: string, at: number, parts: SealedParts, language: NoticeLanguage): number | null {
  let end: number | null = null
  for (let from = at; text.startsWith('- ', from); ) {
    const found = text.indexOf('\r\n', from)
    const lineEnd = found === -1 ? text.length : found
    if (!isOpener(text.slice(from + 2, lineEnd), parts, language)) break
    end = lineEnd
    from = lineEnd + 2
  }
  return end
}

function endOfHtmlList(html: string, at: number, parts: SealedParts, language: NoticeLanguage): number | null {
  const between = '<br>\r\n'
  let end: number | null = null
  for (let from = at; ; ) {
    const length = html.slice(from).search(/<|\r\n|$/)
    const written = html.slice(from, from + length)
    const line = withoutNumbers(written)
    if (!isOpener(line, parts, language) || endOfEscaped(written, 0, line) !== length) break
    end = from + length
    if (!html.startsWith(between, end)) break
    from = end + between.length
  }
  return end
}

function isOpener(line: string, parts: SealedParts, language: NoticeLanguage): boolean {
  const { unnamed, more } = noticeWords[language]
  if (line === unnamed || parts.recipients.some((address) => address === line)) return true
  const count = /\d{1,4}/.exec(line)
  return count !== null && line === more(Number(count[0]))
}

/** Where `value` ends that is written at `at` with numbers for what HTML knows; null if it is not. */
function endOfEscaped(html: string, at: number, value: string): number | null {
  if (/^[ !#-%(-;=?-_a-~\r\n]*$/.test(value) && html.startsWith(value, at)) return at + value.length
  let end = at
  for (const character of value) {
    const written = `&#${character.codePointAt(0)};`
    if (html.startsWith(written, end)) end += written.length
    else if (/[ !#-%(-;=?-_a-~\r\n]/.test(character) && html[end] === character) end++
    else return null
  }
  return end
}

function withoutNumbers(html: string): string {
  return html.replace(/&#(\d{1,7});/g, (whole, code: string) =>
    Number(code) > 0x10ffff ? whole : String.fromCodePoint(Number(code)),
  )
}

/** How each language says it. The units: days, hours, minutes, each as one and as many. */
const EXPIRY: Readonly<Record<NoticeLanguage, readonly [RegExp, string]>> = {
  en: [
    /^(\w+), (\d\d?) (\w+) (\d{4}), (\d\d:\d\d) UTC \((\d{1,6}) (\w+) after it was sent\)/,
    'day days hour hours minute minutes',
  ],
  de: [
    /^(\w+), (\d\d?)\. (\p{L}+) (\d{4}), (\d\d:\d\d) Uhr UTC \((\d{1,6}) (\w+) nach dem Versand\)/u,
    'Tag Tage Stunde Stunden Minute Minuten',
  ],
  fr: [
    /^(\w+) (1er|\d\d?) (\p{L}+) (\d{4}) à (\d\d h \d\d) UTC \((\d{1,6}) (\w+) après l'envoi\)/u,
    'jour jours heure heures minute minutes',
  ],
  es: [
    /^(\p{L}+), (\d\d?) de (\w+) de (\d{4}), (\d\d:\d\d) UTC \((\d{1,6}) (\p{L}+) después del envío\)/u,
    'día días hora horas minuto minutos',
  ],
  it: [
    /^(\p{L}+) (\d\d?) (\w+) (\d{4}), ore (\d\d:\d\d) UTC \((\d{1,6}) (\w+) dopo l'invio\)/u,
    'giorno giorni ora ore minuto minuti',
  ],
  nl: [
    /^(\w+) (\d\d?) (\w+) (\d{4}), (\d\d:\d\d) uur UTC \((\d{1,6}) (\w+) na verzending\)/,
    'dag dagen uur uur minuut minuten',
  ],
}
const UNIT_MS = [86_400_000, 3_600_000, 60_000]

/** The expiry that `view` begins with; null if it is not the envelope's. */
function expiryAt(view: string, parts: SealedParts, language: NoticeLanguage): string | null {
  const [form, units] = EXPIRY[language]
  const match = form.exec(view)
  if (match === null) return null
  const at = new Date(parts.expiresAt)
  const [said, weekday, day = '', month, year, time, count = '', unit = ''] = match
  const place = units.split(' ').indexOf(unit)
  const ms = UNIT_MS[Math.floor(place / 2)] ?? 0
  const left = Math.max(0, at.getTime() - parts.now.getTime())
  const right =
    weekday === nameIn(language, 'weekday', at) &&
    month === nameIn(language, 'month', at) &&
    `${year}-${day.replace('1er', '1').padStart(2, '0')} ${time?.replace(' h ', ':')}` ===
      at.toISOString().replace(/-\d\d-(\d\d)T(\d\d:\d\d).*/, '-$1 $2') &&
    Math.abs(Number(count) * ms - left) <= ms / 2 + 30_000
  return right ? said : null
}

/** Made once: a format costs more than all else here. */
const FORMATS = new Map(
  noticeLanguages.map((language) => {
    const format = (part: 'weekday' | 'month') => new Intl.DateTimeFormat(language, { [part]: 'long', timeZone: 'UTC' })
    return [language, { weekday: format('weekday'), month: format('month') }]
  }),
)

function nameIn(language: NoticeLanguage, part: 'weekday' | 'month', at: Date): string | undefined {
  return FORMATS.get(language)?.[part].format(at)
}
