import type { Outcome } from './courier.ts'

/** What became of a letter: one answer for all recipients; or nothing, since it is none for this provider's API, and why, in words for the log. */
export type ApiAnswer = ApiOutcome | { readonly kind: 'elsewhere'; readonly because: string }

export type ApiOutcome = {
  readonly kind: 'answer'
  readonly outcome: Outcome
  readonly code: number
  readonly enhanced: string
  readonly text: string
  /** Whether the words are the provider's. */
  readonly remote: boolean
}

/** Surely not sent, in our own words. */
export function deferred(text: string, enhanced: string): ApiOutcome {
  return { kind: 'answer', outcome: 'deferred', code: 451, enhanced, text, remote: false }
}

/** What the provider said to a request that it refused. */
export function refusal(code: number, enhanced: string, text: string): ApiOutcome {
  return { kind: 'answer', outcome: code < 500 ? 'deferred' : 'failed', code, enhanced, text, remote: true }
}

export function sent(text: string): ApiOutcome {
  return { kind: 'answer', outcome: 'sent', code: 250, enhanced: '2.0.0', text, remote: true }
}

export function unknown(text: string): ApiOutcome {
  return { kind: 'answer', outcome: 'unknown', code: 421, enhanced: '4.4.2', text, remote: false }
}

/** Somewhere else on SMTP the mailbox may well be one. */
export const noMailboxHere: ApiAnswer = { kind: 'elsewhere', because: 'the provider has no such mailbox' }

export const tooLargeHere: ApiAnswer = { kind: 'elsewhere', because: 'the mail is too large' }
