import { type ApiAnswer, deferred, noMailboxHere, refusal } from './api-answer.ts'
import { type ApiReply, at } from './api-call.ts'

/**
 * What an error of Microsoft Graph means for a mail that was surely not sent. Pure. Errors of the application's own rights are temporary, as a
 * refused sign-in is by SMTP: the administrator mends them, and no mail is lost meanwhile.
 */
export function graphAnswer(reply: ApiReply): ApiAnswer {
  const { status } = reply
  const code = textOf(at(reply.body, 'error', 'code'))
  const message = textOf(at(reply.body, 'error', 'message'))
  const said = `Microsoft Graph: HTTP ${status} ${code}${message === '' ? '' : `: ${message}`}`
  if (noMailbox.has(code)) return noMailboxHere
  const [known] = rows.filter((row) => row.codes.includes(code))
  if (known !== undefined) return refusal(known.code, known.enhanced, said)
  if (status === 413) return refusal(552, '5.3.4', said)
  if (status === 401 || status === 403) return refusal(454, '4.7.0', said)
  if (status === 404) return noMailboxHere
  if (status === 429) return refusal(451, '4.3.2', said)
  if (status === 400 || status === 422) return refusal(554, '5.6.0', said)
  // 2xx without what was asked for: nothing was made.
  return status < 500 ? deferred(said, '4.3.0') : refusal(451, '4.3.0', said)
}

/** Retry-After is honoured for both; neither was carried out. */
export function isThrottled(reply: ApiReply): boolean {
  return reply.status === 429
}

/** The mailbox is not one of Exchange Online. */
const noMailbox = new Set([
  'ErrorInvalidUser',
  'ErrorNonExistentMailbox',
  'MailboxNotEnabledForRESTAPI',
  'MailboxNotSupportedForRESTAPI',
  'Request_ResourceNotFound',
  'ResourceNotFound',
])

const rows = [
  { codes: ['ErrorSendAsDenied'], code: 550, enhanced: '5.7.60' },
  { codes: ['ErrorInvalidRecipients', 'ErrorNoRecipients'], code: 553, enhanced: '5.1.3' },
  { codes: ['ErrorMessageSizeExceeded', 'ErrorAttachmentSizeLimitExceeded'], code: 552, enhanced: '5.3.4' },
  { codes: ['ErrorQuotaExceeded', 'ErrorMailboxFull'], code: 452, enhanced: '4.2.2' },
  {
    codes: ['ErrorExceededMessageLimit', 'ErrorSubmissionQuotaExceeded', 'ErrorMessageSubmissionBlocked'],
    code: 452,
    enhanced: '4.7.0',
  },
  {
    codes: ['ErrorMailboxMoveInProgress', 'ErrorMailboxStoreUnavailable', 'ErrorServerBusy'],
    code: 451,
    enhanced: '4.3.2',
  },
]

function textOf(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 300) : ''
}
