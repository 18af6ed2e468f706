import type { Address } from '../protocol/identifiers.ts'
import type { NoticeLanguage } from '../rulebook/index.ts'
import { plainExpiry } from './notice-expiry.ts'
import type { NoticeTemplate, Pieces, Slot } from './notice-template.ts'
import { noticeWords } from './notice-words.ts'

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

/** More addresses are counted, not listed. */
const NAMED_LIMIT = 25

/**
 * The notice as text and as HTML. Of people it names addresses only, never display names: those are whatever a sender likes, a false link
 * included. What fills a slot is escaped in HTML, and makes no line of its own.
 */
export function renderNotice(template: NoticeTemplate, facts: NoticeFacts): Notice {
  const values = new Map<NoticeLanguage, Readonly<Record<string, string>>>()
  for (const language of template.languages) values.set(language, valuesOf(language, facts))
  const say = ({ slot, language }: Slot) => {
    const value = values.get(language)?.[slot]
    if (value === undefined) throw new Error(`the notice has no slot of the name ${slot}`)
    return value
  }
  const listed = (value: string) =>
    value
      .split('\r\n')
      .map((line) => `- ${line}`)
      .join('\r\n')
  return {
    text: fill(template.text, (slot) => (slot.slot === 'recipients' ? listed(say(slot)) : say(slot))),
    html: fill(template.html, (slot) => {
      const value = escapeHtml(say(slot))
      // A line a person: the break is the template's, not the value's.
      return slot.slot === 'recipients' ? value.replaceAll('\r\n', '<br>\r\n') : value
    }),
  }
}

function valuesOf(language: NoticeLanguage, facts: NoticeFacts): Record<string, string> {
  const words = noticeWords[language]
  return {
    sender: facts.sender ?? words.system(facts.org),
    organization: oneLine(facts.organization),
    domain: facts.org,
    link: facts.link,
    origin: `${new URL(facts.link).origin}/`,
    expires: plainExpiry(language, facts.expiresAt, facts.now),
    recipients: named(facts.openers, language).join('\r\n'),
    attachment: facts.attached ? words.attached : words.notAttached,
  }
}

function named(openers: readonly Address[], language: NoticeLanguage): string[] {
  const words = noticeWords[language]
  if (openers.length === 0) return [words.unnamed]
  const more = openers.length - NAMED_LIMIT
  const lines: string[] = openers.slice(0, NAMED_LIMIT)
  return more > 0 ? [...lines, words.more(more)] : lines
}

function fill(pieces: Pieces, say: (slot: Slot) => string): string {
  return pieces.map((piece) => (typeof piece === 'string' ? piece : say(piece))).join('')
}

/** ASCII text that HTML shows as `value`, in content and in quoted attributes. */
function escapeHtml(value: string): string {
  return value.replace(/[&<>"'`]|[^\x20-\x7e\r\n]/gu, (character) => `&#${character.codePointAt(0)};`)
}

/** The organization's name comes from our configuration; it is held to one line all the same. */
function oneLine(text: string): string {
  return [...text.replace(/[\p{C}\s]+/gu, ' ').trim()].slice(0, 100).join('').trim()
}
