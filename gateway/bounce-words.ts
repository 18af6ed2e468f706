import type { BounceParts } from './bounce.ts'
import { isTooLarge } from './by-link.ts'
import { type RecipientResult, replyLine } from './courier.ts'

/** `relayed`: handed to a next hop that tells nothing further. `held`: kept until an officer decides; `returned`: it was, and never leaves. */
export type ReportAction = 'failed' | 'delayed' | 'relayed' | 'held' | 'returned'

export function bounceSubject(action: ReportAction): string {
  switch (action) {
    case 'failed':
      return 'Your message was not delivered to everybody'
    case 'delayed':
      return 'Your message is delayed'
    case 'relayed':
      return 'Your message was passed on'
    case 'held':
      return 'Your message is held'
    case 'returned':
      return 'Your message was sent back'
  }
}

/** The part for people: what happened to whom, and what to do; in lines of at most 200 characters. */
export function bounceWords(parts: BounceParts): string {
  const { action = 'failed' } = parts
  const lines = [
    ...heading(parts, action),
    '',
    ...parts.failed.flatMap((result) => [
      `- ${result.recipient}`,
      ...(action === 'failed' ? [`  ${advice(result)}`] : []),
      ...(result.text === '' ? [] : [`  ${reason(parts, action, result)}`]),
      '',
    ]),
    ...ending(parts, action),
    '',
    'Only the header of your message is returned with this notice.',
    '',
    `The mail gateway of ${organizationOf(parts)} (${parts.org})`,
  ]
  return lines.map((line) => wrap(line)).join('\r\n')
}

function reason({ nextHop }: BounceParts, action: ReportAction, result: RecipientResult): string {
  // A person's own sentence, without the codes of a mail server.
  if (action === 'held' || action === 'returned') return `Reason: ${result.text}`
  return `${result.remote ? `${result.hop ?? nextHop} said` : 'Reason'}: ${replyLine(result)}`
}

function organizationOf({ organization }: BounceParts): string {
  return organization.replace(/[\p{C}\s]+/gu, ' ').slice(0, 100)
}

function heading(parts: BounceParts, action: ReportAction): readonly string[] {
  switch (action) {
    case 'failed':
      return ['Your message could not be delivered to these addresses:']
    case 'delayed':
      return ['Your message has not been delivered to these addresses yet:']
    case 'relayed':
      return ['Your message was passed on to the mail server of these addresses, which', 'will not tell you more:']
    case 'held':
      return [`Your message is held: ${organizationOf(parts)} looks at it before it goes to these addresses:`]
    case 'returned':
      return ['Your message was held, and is sent back. It did not go to these addresses:']
  }
}

function ending(parts: BounceParts, action: ReportAction): readonly string[] {
  switch (action) {
    case 'failed':
      return [
        'Nobody at these addresses can open it. It was delivered to, or is',
        'still under way to, any other address that you sent it to: do not',
        'send it to those again.',
      ]
    case 'delayed':
      return [
        `You need not do anything. It is tried again${parts.until === undefined ? '' : ` until ${parts.until.toUTCString()}`}, and you`,
        'are told if that does not help. Do not send it again.',
      ]
    case 'relayed':
      return ['You wished to be told.']
    case 'held':
      return [
        'Nobody at these addresses can open it yet. You need not do anything, and',
        'should not send it again: once it is let go, it is delivered.',
        ...(parts.until === undefined
          ? []
          : [`If nobody has decided until ${parts.until.toUTCString()}, it is sent back.`]),
      ]
    case 'returned':
      return [
        'Nobody at these addresses can open it, and nobody ever will. If you have',
        `questions, ask the security officer of ${organizationOf(parts)}.`,
      ]
  }
}

/** What the sender can do, by the subject and detail of the RFC 3463 code. */
function advice(result: RecipientResult): string {
  const code = result.enhanced.slice(2)
  if (/^1\.[1236]$/.test(code)) return 'There is no such address. Check how it is written, then send again.'
  if (/^2\.2$/.test(code)) return 'The mailbox is full. Reach the person in another way, or try later.'
  if (isTooLarge(result)) {
    return 'The message is too large for the next mail server. Send it in smaller parts, or ask your administrator, who can let sealed messages of that size go by link (carry, carryLimit).'
  }
  if (/^4\.7$/.test(code))
    return 'It was tried for as long as messages are kept. Reach the person in another way, or send it again.'
  if (/^6\.7$/.test(code))
    return 'The address has letters that the next mail server cannot handle. Use another address.'
  if (/^7\./.test(code)) return 'The mail server does not accept it from you. Ask your administrator.'
  return 'The mail server refused it for good. Reach the person in another way, or ask your administrator.'
}

function wrap(line: string): string {
  return line.replace(/(.{1,200})(?: |$)/g, '$1\r\n').trimEnd()
}
