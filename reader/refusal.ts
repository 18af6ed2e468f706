import type { Problem } from '../protocol/problem.ts'
import { timeInWords } from './time.ts'

/** Why a message does not open. */
export type Refusal =
  | { readonly kind: 'problem'; readonly problem: Problem }
  | { readonly kind: 'unreachable' }
  /** The key server answers, and no store of sealed copies does. */
  | { readonly kind: 'copy-unreachable' }
  /** The mail carries the envelope, and no store has a copy. */
  | { readonly kind: 'no-copy' }
  /** `what` names the check that failed, for support. */
  | { readonly kind: 'damaged'; readonly what: string }
  | { readonly kind: 'too-large' }
  /** The browser could not do something. `what` is its own word for it, for support. */
  | { readonly kind: 'failed'; readonly what: string }

/** What a person can do next. */
export type Remedy = 'try-again' | 'other-address' | 'choose-file' | 'new-code'

export type Words = {
  readonly title: string
  readonly text: readonly string[]
  readonly remedies: readonly Remedy[]
  /** Something to tell whoever helps. */
  readonly note: string | null
}

/** A refusal in plain words: what happened, and what to do. `address` is the proven one, or null before it is proven. */
export function refusalInWords(refusal: Refusal, address: string | null): Words {
  switch (refusal.kind) {
    case 'unreachable':
      return words(
        'We cannot reach the server',
        [
          'Perhaps your connection is down, or the server is resting for a moment. Nothing was used up: your code and your message are as they were.',
        ],
        ['try-again'],
      )
    case 'copy-unreachable':
      return words(
        'We cannot fetch the message',
        [
          'Perhaps your connection is down, or the place where it is kept does not answer. Nothing was used up. Please try again in a minute.',
          'If the file protected-message.sealpost is attached to the mail you received, you can open the message from that file at once.',
        ],
        ['try-again', 'choose-file'],
      )
    case 'no-copy':
      return words(
        'Please open the attached file',
        [
          'This message travels inside the mail you received, as the file protected-message.sealpost. Choose that file here, or drag it onto this page.',
        ],
        ['choose-file'],
      )
    case 'damaged':
      return words(
        'This message is damaged',
        [
          'What arrived is not what was sent, so it was not opened. Please try the link in the mail, or the attached file once more. If it stays so, ask the sender to send it again.',
        ],
        ['try-again', 'choose-file'],
        `Check that failed: ${refusal.what}`,
      )
    case 'too-large':
      return words(
        'This file is too large',
        ['This page can open protected messages of up to 256 MB.'],
        ['choose-file'],
      )
    case 'failed':
      return words(
        'This browser could not show the message',
        [
          'Perhaps it is short of memory, or too old for this page. Please try again, or open the link in a current Chrome, Edge, Firefox or Safari.',
        ],
        ['try-again'],
        refusal.what,
      )
    case 'problem':
      return problemInWords(refusal.problem, address)
  }
}

function problemInWords(problem: Problem, address: string | null): Words {
  const note = problem.incident === undefined ? null : `Incident ${problem.incident}`
  const when = problem.at === undefined ? '' : ` on ${timeInWords(problem.at)}`
  switch (problem.code) {
    case 'expired':
      return words(
        'This message has expired',
        [
          `It could be opened for a limited time, which ended${when}.`,
          'If you still need it, ask the sender to send it again.',
        ],
        [],
        note,
      )
    case 'revoked':
      return words(
        'This message was revoked',
        [
          `The sender took it back${when}. It can no longer be opened by anybody.`,
          'If you think this is a mistake, please ask the sender.',
        ],
        [],
        note,
      )
    case 'held':
      return words(
        'This message has not been sent yet',
        [
          'The organization of its sender looks at it before it leaves. Nothing was used up.',
          'Once it is let go, you get it by mail, and can open it then.',
        ],
        ['try-again'],
        note,
      )
    case 'not-for-you':
    case 'not-found':
      return words(
        'This message does not open for this address',
        [
          address === null
            ? 'The address you entered is not among those that can open this message, or the message no longer exists.'
            : `You showed that you read the mail of ${address}, but that address is not among those that can open this message, or the message no longer exists.`,
          'Did it come to another of your addresses, or was it forwarded to you? Then use the address that it was first sent to.',
        ],
        ['other-address'],
        note,
      )
    case 'denied-by-rule':
      return words(
        'The rules of the sender do not allow it now',
        [
          problem.detail ??
            'The organization that sent this message does not let it be opened under these circumstances.',
          'Please ask the sender what to do.',
        ],
        ['try-again'],
        note,
      )
    case 'stronger-proof-needed':
      return words(
        'A stronger proof is needed',
        [
          'The sender asks for more than a mailed code before this message opens, and this page cannot take it yet. Please ask the sender.',
        ],
        [],
        note,
      )
    case 'wrong-code':
    case 'code-expired':
      return words(
        'This code can no longer be used',
        ['Codes are good for ten minutes and for five tries. Please ask for a new one.'],
        ['new-code'],
        note,
      )
    case 'too-many':
      return words(
        'Too many tries',
        [
          'For the safety of the message we have paused here.',
          problem.detail ?? 'Please wait a few minutes, then try again.',
        ],
        ['try-again'],
        note,
      )
    case 'no-session':
    case 'not-authorised':
      return words(
        'Please show once more who you are',
        ['Your last code has run out. We will send you a new one.'],
        ['other-address'],
        note,
      )
    case 'unavailable':
    case 'internal':
      return words(
        'The server cannot answer just now',
        [
          'It could not be asked whether this message may be opened. Nothing was used up. Please try again in a minute.',
        ],
        ['try-again'],
        note,
      )
    // A newer server may know codes that this page does not.
    default:
      return words(
        'This did not work',
        ['The server did not understand this page. Please load the page again; if it stays so, tell the sender.'],
        ['try-again'],
        note ?? problem.code,
      )
  }
}

function words(title: string, text: readonly string[], remedies: readonly Remedy[], note: string | null = null): Words {
  return { title, text, remedies, note }
}
