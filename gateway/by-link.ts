import type { OutgoingMail, RecipientResult } from './courier.ts'

/** The same message without its envelope, which waits at the link: for a next hop that finds it too large with it. Made when it is asked for. */
export type ByLink = () => OutgoingMail

/** Such a mail as it lies in the spool beside the one that carries its envelope. */
export type KeptByLink = {
  readonly mail: Omit<OutgoingMail, 'open'>
  /** Its octets, one a character. */
  readonly text: string
}

/** Hardly a next hop finds less too large, octets; and a smaller mail would grow in the spool by more than it is worth. */
const WORTH_KEEPING = 256 * 1024

/** Whether the spool keeps the mail by link beside this one. */
export function keepsByLink(mail: OutgoingMail, byLink: ByLink | null): byLink is ByLink {
  return byLink !== null && mail.size >= WORTH_KEEPING
}

/** Rejects with whatever the mail's stream fails with. */
export async function keepByLink(byLink: ByLink): Promise<KeptByLink> {
  const { open, ...mail } = byLink()
  let text = ''
  for await (const chunk of open()) text += Buffer.from(chunk).toString('latin1')
  return { mail, text }
}

/** The mail again. */
export function keptByLink({ mail, text }: KeptByLink): OutgoingMail {
  return {
    ...mail,
    async *open() {
      yield Buffer.from(text, 'latin1')
    },
  }
}

/**
 * Whether the mail was refused for its size: RFC 3463 5.3.4 (too big for the system) or 5.2.3 (for the mailbox), or RFC 1870's 552, unless
 * that says another thing: a full mailbox (5.2.2), or a policy (5.7).
 */
export function isTooLarge({ outcome, code, enhanced }: RecipientResult): boolean {
  if (outcome !== 'failed') return false
  if (enhanced === '5.3.4' || enhanced === '5.2.3') return true
  return code === 552 && enhanced !== '5.2.2' && !enhanced.startsWith('5.7.')
}
