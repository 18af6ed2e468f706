import { readFile } from 'node:fs/promises'
import type { Address } from '../protocol/identifiers.ts'

/** What the notice says around its slots `{{name}}`; lines end with CRLF. */
export type NoticeTemplates = { readonly text: string; readonly html: string }

/** All that is put into the slots. */
export type NoticeFacts = {
  readonly org: string
  /** The organization's name for people. */
  readonly organization: string
  /** Null for `<>`. */
  readonly sender: Address | null
  readonly link: string
  /** RFC 3339 */
  readonly expiresAt: string
  /** Those who may be named to everybody: they stand in To or Cc. */
  readonly openers: readonly Address[]
  /** The mail carries the envelope. */
  readonly attached: boolean
  readonly now: Date
}

export type Notice = { readonly text: string; readonly html: string }

export const ATTACHMENT_NAME = 'protected-message.sealpost'
/** What the last slot says when the mail carries its envelope. */
export const ATTACHED =
  `The attached file ${ATTACHMENT_NAME} is the message itself, encrypted.\r\n` +
  'Keep this mail: the page may ask for that file.'
/** What the last slot says when it does not. */
export const NOT_ATTACHED = 'The message itself is kept, encrypted, by the organization.'
/** Said where nobody may be named. */
export const UNNAMED = 'only the addresses that this mail was sent to'
/** More addresses are counted, not listed. */
const NAMED_LIMIT = 25

/** The templates of this folder's `notice/`. */
export async function loadNoticeTemplates(): Promise<NoticeTemplates> {
  const read = async (name: string) => {
    const text = await readFile(new URL(`./notice/${name}`, import.meta.url), 'utf8')
    return text.trimEnd().replaceAll('\r\n', '\n').replaceAll('\n', '\r\n')
  }
  return { text: await read('notice.txt'), html: await read('notice.html') }
}

/**
 * The notice as text (UTF-8 where a name needs it) and as HTML (ASCII). Of people it names addresses only, never display names: those are
 * whatever a sender likes, a false link included.
 */
export function renderNotice(templates: NoticeTemplates, facts: NoticeFacts): Notice {
  const slots = slotsOf(facts)
  const openers = facts.openers.length === 0 ? [UNNAMED] : named(facts.openers)
  return {
    text: fill(templates.text, { ...slots, openers: openers.map((line) => `- ${line}`).join('\r\n') }),
    html: fill(
      templates.html,
      mapValues({ ...slots, openers: openers.join('\r\n') }, (value) => escapeHtml(value)),
      // A line a person: the break is the template's, not the value's.
      (name, value) => (name === 'openers' ? value.replaceAll('\r\n', '<br>\r\n') : value),
    ),
  }
}

function slotsOf(facts: NoticeFacts): Record<string, string> {
  return {
    sender: facts.sender ?? `the mail system of ${facts.org}`,
    organization: oneLine(facts.organization),
    org: facts.org,
    link: facts.link,
    origin: `${new URL(facts.link).origin}/`,
    expires: plainExpiry(facts.expiresAt, facts.now),
    attachment: facts.attached ? ATTACHED : NOT_ATTACHED,
  }
}

function named(openers: readonly Address[]): string[] {
  const more = openers.length - NAMED_LIMIT
  const lines: string[] = openers.slice(0, NAMED_LIMIT)
  return more > 0 ? [...lines, `and ${more} more`] : lines
}

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const months = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October']
months.push('November', 'December')

/** `Tuesday, 22 December 2026, 14:05 UTC (30 days after it was sent)`. */
export function plainExpiry(expiresAt: string, now: Date): string {
  const at = new Date(expiresAt)
  const two = (value: number) => String(value).padStart(2, '0')
  const date = `${days[at.getUTCDay()]}, ${at.getUTCDate()} ${months[at.getUTCMonth()]} ${at.getUTCFullYear()}`
  const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())} UTC`
  return `${date}, ${time} (${plainDuration(at.getTime() - now.getTime())} after it was sent)`
}

function plainDuration(ms: number): string {
  const minutes = Math.max(0, Math.round(ms / 60_000))
  if (minutes >= 2 * 1440) return `${Math.round(minutes / 1440)} days`
  if (minutes >= 2 * 60) return `${Math.round(minutes / 60)} hours`
  return `${minutes} minutes`
}

function fill(
  template: string,
  slots: Readonly<Record<string, string>>,
  shape: (name: string, value: string) => string = (_, value) => value,
): string {
  return template.replace(/\{\{(\w+)\}\}/g, (_, name: string) => {
    const value = slots[name]
    if (value === undefined) throw new Error(`the notice has no slot of the name ${name}`)
    return shape(name, value)
  })
}

function mapValues(slots: Readonly<Record<string, string>>, change: (value: string) => string): Record<string, string> {
  return Object.fromEntries(Object.entries(slots).map(([name, value]) => [name, change(value)]))
}

/** ASCII text that HTML shows as `value`, in content and in quoted attributes. */
export function escapeHtml(value: string): string {
  return value.replace(/[&<>"'`]|[^\x20-\x7e\r\n]/gu, (character) => `&#${character.codePointAt(0)};`)
}

/** The organization's name comes from our configuration; it is held to one line all the same. */
function oneLine(text: string): string {
  return text
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim()
    .slice(0, 100)
}
