import { type ApiAnswer, deferred, noMailboxHere, refusal } from './api-answer.ts'
import { type ApiReply, at } from './api-call.ts'

/** What an error of the Gmail API means for a mail that was surely not sent. Pure. */
export function gmailAnswer(reply: ApiReply): ApiAnswer {
  const { status } = reply
  const reason = reasonOf(reply)
  const message = textOf(at(reply.body, 'error', 'message'))
  const said = `Gmail API: HTTP ${status} ${reason}${message === '' ? '' : `: ${message}`}`
  // The mailbox is not one of Gmail.
  if (status === 404 || /mail service not enabled/i.test(message)) return noMailboxHere
  if (isThrottled(reply)) return refusal(451, '4.3.2', said)
  if (reason === 'dailyLimitExceeded' || reason === 'quotaExceeded' || reason === 'limitExceeded') {
    return refusal(452, '4.7.28', said)
  }
  if (status === 413 || reason === 'uploadTooLarge') return refusal(552, '5.3.4', said)
  // The service account's own rights: mended by an administrator, and nothing is lost meanwhile.
  if (status === 401 || status === 403) return refusal(454, '4.7.0', said)
  if (status === 400 && /recipient|invalid to header|invalid cc header|invalid bcc header/i.test(message)) {
    return refusal(553, '5.1.3', said)
  }
  if (status === 400) return refusal(554, '5.6.0', said)
  return status < 500 ? deferred(said, '4.3.0') : refusal(451, '4.3.0', said)
}

/** To be made again after a while: not carried out. 403 is what Gmail says for some of its limits. */
export function isThrottled(reply: ApiReply): boolean {
  if (reply.status === 429) return true
  return reply.status === 403 && /^(?:rateLimitExceeded|userRateLimitExceeded)$/.test(reasonOf(reply))
}

function reasonOf(reply: ApiReply): string {
  const errors = at(reply.body, 'error', 'errors')
  const [first] = Array.isArray(errors) ? errors : []
  return textOf(at(first, 'reason')) || textOf(at(reply.body, 'error', 'status'))
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 300) : ''
}
