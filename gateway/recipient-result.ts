import type { RecipientResult } from './courier.ts'
import { printable, type Reply } from './smtp-reply.ts'

/** What a reply of the next hop means for a recipient. */
export function resultOf(recipient: string, reply: Reply): RecipientResult {
  const outcome = reply.code < 400 ? 'sent' : reply.code < 500 ? 'deferred' : 'failed'
  const enhanced = reply.enhanced ?? `${Math.floor(reply.code / 100)}.0.0`
  return { recipient, outcome, code: reply.code, enhanced, text: reply.text, remote: true }
}

/** Whether the mail may have reached that recipient. */
export function mayHave({ outcome }: RecipientResult): boolean {
  return outcome === 'sent' || outcome === 'unknown'
}

/** Surely not delivered, may be tried again. The words are ours. */
export function notDelivered(recipient: string, text: string, enhanced = '4.4.2'): RecipientResult {
  return { recipient, outcome: 'deferred', code: 421, enhanced, text: printable(text), remote: false }
}

/** The content was sent, at least in part, and the answer was lost. */
export function unknownResult(recipient: string, text: string): RecipientResult {
  return { recipient, outcome: 'unknown', code: 421, enhanced: '4.4.2', text: printable(text), remote: false }
}

/** Not sent yet, because a rule holds it. */
export function heldHere(recipient: string, because: string): RecipientResult {
  return { recipient, outcome: 'deferred', code: 451, enhanced: '4.7.0', text: printable(because), remote: false }
}

/** Refused for good by us, before the next hop was asked. */
export function refusedHere(recipient: string, code: number, enhanced: string, text: string): RecipientResult {
  return { recipient, outcome: 'failed', code, enhanced, text: printable(text), remote: false }
}

/** Held, and never to be sent. `words` may be an officer's own: any letters, on one line here. */
export function sentBack(recipient: string, enhanced: string, words: string): RecipientResult {
  const text = words.replace(/[\p{C}\s]+/gu, ' ').trim()
  return { recipient, outcome: 'failed', code: 554, enhanced, text, remote: false }
}
