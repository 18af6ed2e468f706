import type { OutboundFacts } from '../rulebook/index.ts'

/** What a scanner said of a message. */
export type Scan = OutboundFacts['message']['scan']

/** Of a message that no scanner was asked about. */
export const NOT_SCANNED: Scan = { verdict: 'none', name: '' }

/** A name that a scanner gives, fit for a log and an SMTP reply: printable ASCII, at most 96 characters. */
export function foundName(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 96)
}
