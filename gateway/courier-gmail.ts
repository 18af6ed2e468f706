import { fields as names } from '../protocol/headers.ts'
import { parseAddress } from '../protocol/identifiers.ts'
import { parseAddressList } from './address-list.ts'
import { type ApiAnswer, deferred, noMailboxHere, sent, tooLargeHere, unknown } from './api-answer.ts'
import { type ApiReply, at, type Called, pause } from './api-call.ts'
import type { Courier } from './courier.ts'
import { type ApiCourierOptions, createHeaderCourier } from './courier-by-header.ts'
import { gmailAnswer } from './gmail-answer.ts'
import { createGmailMailbox, type GmailApi, type GmailMailbox, idsIn } from './gmail-mailbox.ts'
import { isSent, sendResumable } from './gmail-upload.ts'
import { type HeaderField, parseHeader } from './header.ts'
import { fieldText, type Letter, wholeOf } from './letter.ts'
import { createQuota } from './quota.ts'

export type GmailCourierOptions = ApiCourierOptions & {
  /** Of one mailbox. 15,000 if absent, as Google documents. */
  readonly unitsPerMinute?: number
}

/** The largest mail of users.messages.send, octets. */
const LARGEST = 36_700_160
/** Larger ones go by a resumable upload, as Google advises. */
const WHOLE = 5_000_000
const AT_ONCE = 4
/** A message is read whole, to find our stamp in it, up to this size. */
const READABLE = 1_000_000

/**
 * A courier by the Gmail API. It tells by Message-ID, stamp and recipients whether a mail of which nothing is known was sent, before it sends it
 * again. Gmail keeps a copy in Sent.
 */
export function createGmailCourier(options: GmailCourierOptions): Courier {
  const { endpoint, tokens } = options
  const quota = createQuota(options.unitsPerMinute ?? 15_000)
  const api: GmailApi = { endpoint, tokens, quota, requestMs: options.requestMs ?? 25_000 }
  const lookMs = options.lookMs ?? 5_000
  return createHeaderCourier(options, {
    ...{ size: LARGEST, atOnce: AT_ONCE },
    async send(letter, signal, until) {
      if (letter.mail.size > LARGEST) return tooLargeHere
      const mailbox = createGmailMailbox(api, letter.mailbox, signal, until)
      if (letter.again) {
        const found = await look(mailbox, letter)
        // Such an attempt went another way, and so does this one.
        if (found === 'nobody') return noMailboxHere
        if (found === 'sent') return sent('Gmail API: found in Sent from an earlier attempt')
        // A deferral would have the next attempt send without a look.
        if (found === 'unseen') return unknown('whether an earlier attempt was sent cannot be seen')
      }
      const whole = letter.mail.size > WHOLE ? null : await wholeOf(letter.mail)
      letter.onDot()
      const called =
        whole === null
          ? await sendResumable(api, letter.mailbox, letter.mail, signal, until)
          : await mailbox.send(whole)
      const answer = answerOf(called)
      if (answer !== null) return answer
      const afterwards = createGmailMailbox(
        api,
        letter.mailbox,
        AbortSignal.timeout(lookMs),
        performance.now() + lookMs,
      )
      return settle(afterwards, letter, lookMs)
    },
  })
}

/** Null where the mail may or may not have been sent. */
function answerOf(called: Called): ApiAnswer | null {
  switch (called.kind) {
    case 'reply': {
      const { reply } = called
      if (isSent(reply)) return sent(`accepted by Gmail, message ${String(at(reply.body, 'id')).slice(0, 64)}`)
      return reply.status >= 500 || reply.status < 300 ? null : gmailAnswer(reply)
    }
    case 'lost':
      return null
    case 'undone':
      return called.noMailbox === true ? noMailboxHere : deferred(called.reason, called.enhanced)
  }
}

/** After a lost answer. The search may lag behind: what is not found may still have been sent. */
async function settle(mailbox: GmailMailbox, letter: Letter, lookMs: number): Promise<ApiAnswer> {
  const until = performance.now() + lookMs * 0.7
  for (let wait = lookMs / 20; ; wait *= 2) {
    if ((await look(mailbox, letter)) === 'sent') return sent('Gmail API: found in Sent after its answer was lost')
    if (performance.now() + wait > until)
      return unknown('Gmail did not answer, and the mail is not among those sent so far')
    await pause(wait, AbortSignal.timeout(lookMs))
  }
}

/**
 * Whether the mail lies in Sent. The sender's own clear copy may have the same Message-ID: only the one with our stamp, which names the envelope,
 * and with exactly these recipients counts. `unseen`: there was no answer. `nobody`: there is no such mailbox.
 */
async function look(mailbox: GmailMailbox, letter: Letter): Promise<'sent' | 'absent' | 'unseen' | 'nobody'> {
  const messageId = fieldText(letter.fields, 'message-id')
  if (messageId === null) return 'absent'
  const called = await mailbox.find(messageId)
  if (isNobody(called)) return 'nobody'
  if (called.kind !== 'reply' || called.reply.status !== 200) return 'unseen'
  for (const id of idsIn(called.reply)) {
    const got = await mailbox.header(id)
    if (got.kind !== 'reply' || got.reply.status !== 200) return 'unseen'
    const fields = await fieldsOfMessage(mailbox, id, got.reply)
    if (fields !== null && isLetter(fields, letter)) return 'sent'
  }
  return 'absent'
}

function isNobody(called: Called): boolean {
  if (called.kind === 'undone') return called.noMailbox === true
  return called.kind === 'reply' && gmailAnswer(called.reply) === noMailboxHere
}

async function fieldsOfMessage(mailbox: GmailMailbox, id: string, reply: ApiReply): Promise<readonly Field[] | null> {
  const listed = at(reply.body, 'payload', 'headers')
  const fields = (Array.isArray(listed) ? listed : []).map(
    (one: unknown): Field => ({ key: String(at(one, 'name')).toLowerCase(), value: String(at(one, 'value')) }),
  )
  if (fields.some((field) => field.key === stampKey)) return fields
  // Which fields the short form holds is up to the server.
  if (Number(at(reply.body, 'sizeEstimate')) > READABLE) return null
  const whole = await mailbox.raw(id)
  const raw = whole.kind === 'reply' ? at(whole.reply.body, 'raw') : null
  return typeof raw === 'string' ? (parseHeader(Buffer.from(raw, 'base64url'))?.fields ?? null) : null
}

type Field = Pick<HeaderField, 'key' | 'value'>

const stampKey = names.handled.toLowerCase()

function isLetter(fields: readonly Field[], letter: Letter): boolean {
  const stamp = fieldText(letter.fields, stampKey)
  if (stamp === null || !fields.some((field) => field.key === stampKey && field.value === stamp)) return false
  const found = fields
    .filter(({ key }) => key === 'to' || key === 'cc' || key === 'bcc')
    .flatMap((field) => parseAddressList(field.value) ?? [])
  const wanted = new Set(letter.recipients.map(parseAddress))
  return new Set(found).size === wanted.size && found.every((address) => wanted.has(address))
}
