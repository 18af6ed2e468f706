/** The languages that notices are written in. */
export const noticeLanguages = ['en', 'de', 'fr', 'es', 'it', 'nl'] as const
export type NoticeLanguage = (typeof noticeLanguages)[number]

/** What an organization writes itself, with slots in braces: {@link noticeSlots}. Lines end with LF. */
export type OwnNotice = { readonly text: string; readonly html: string }

/** Which notice stands around a sealed message. Plain JSON, whole in itself: it can be kept and used after the policy has changed. */
export type NoticeChoice = {
  /** As the policy calls it, for people: `de, en`, or the name of an own notice. */
  readonly name: string
  /** The built-in notices, one under the other; of an own notice, the one language that its slots are filled in. */
  readonly languages: readonly [NoticeLanguage, ...NoticeLanguage[]]
  /** Null: built in. */
  readonly own: OwnNotice | null
}

/** Where a policy says nothing. */
export const defaultNotice: NoticeChoice = { name: 'en', languages: ['en'], own: null }

/** What can be put into a notice, and what it then says. */
export const noticeSlots: Readonly<Record<string, string>> = {
  link: 'the address of the page that opens the message',
  origin: 'how that address begins, as in https://mail.acme.example/',
  sender: 'the address of who sent it',
  organization: "the organization's name for people",
  domain: "the organization's id, such as acme.example",
  expires: 'until when it can be opened',
  recipients: 'who can open it: those that stand in To and Cc, one a line',
  attachment: 'whether the message itself is attached or kept for the link',
}

export function isNoticeLanguage(name: string): name is NoticeLanguage {
  return noticeLanguages.some((language) => language === name)
}

/** One name or a list of them, as a policy file writes it. */
export function noticeNames(written: string | readonly string[]): readonly string[] {
  return typeof written === 'string' ? [written] : written
}
