import { type ApiAnswer, deferred, refusal, sent, tooLargeHere, unknown } from './api-answer.ts'
import { type ApiReply, at, type Called, pause } from './api-call.ts'
import type { Courier } from './courier.ts'
import { type ApiCourierOptions, createHeaderCourier } from './courier-by-header.ts'
import { graphAnswer } from './graph-answer.ts'
import { createGraphMailbox, type GraphApi, type GraphMailbox } from './graph-mailbox.ts'
import { lookBefore } from './graph-search.ts'
import { uploadRanges } from './graph-upload.ts'
import { type Detached, detach } from './large-attachment.ts'
import { wholeOf } from './letter.ts'

/** A request may have 4 MB, MIME grows by a third in base64, and more than 2.2 MB is known to be answered 200 and dropped. */
const WHOLE = 2_000_000
/** The largest attachment of an upload session. */
const ATTACHMENT = 150_000_000
/** Microsoft's limit for one application and one mailbox. */
const AT_ONCE = 4

/**
 * A courier by Microsoft Graph: draft, then send, so that after a lost answer the draft says whether it was sent. Mails above 2 MB go as a draft
 * with an upload session for the envelope, which only a sealed mail allows. Exchange keeps a copy in Sent Items.
 */
export function createGraphCourier(options: ApiCourierOptions): Courier {
  const { endpoint, tokens } = options
  const api: GraphApi = { endpoint, tokens, requestMs: options.requestMs ?? 25_000 }
  const lookMs = options.lookMs ?? 5_000
  return createHeaderCourier(options, {
    ...{ size: ATTACHMENT, atOnce: AT_ONCE },
    async send(letter, signal, until) {
      const mailbox = createGraphMailbox(api, letter.mailbox, signal, until)
      if (letter.again) {
        const before = await lookBefore(mailbox, letter)
        if (before !== null) return before
      }
      const detached = letter.mail.size > WHOLE ? await detach(letter.mail) : null
      if (letter.mail.size > WHOLE && (detached === null || detached.mime.length > WHOLE)) return tooLargeHere
      const made = await mailbox.createDraft(detached?.mime ?? (await wholeOf(letter.mail)))
      const id = made.kind === 'reply' && made.reply.status === 201 ? at(made.reply.body, 'id') : undefined
      if (typeof id !== 'string') return refusalOf(made)
      // What follows a lost answer must be possible although the time is up.
      const afterwards = () =>
        createGraphMailbox(api, letter.mailbox, AbortSignal.timeout(lookMs), performance.now() + lookMs)
      return finish({ mailbox, afterwards, id, lookMs, onDot: letter.onDot }, detached, signal, api.requestMs)
    },
  })
}

type Draft = {
  readonly mailbox: GraphMailbox
  readonly afterwards: () => GraphMailbox
  readonly id: string
  readonly lookMs: number
  readonly onDot: () => void
}

async function finish(
  draft: Draft,
  detached: Detached | null,
  signal: AbortSignal,
  requestMs: number,
): Promise<ApiAnswer> {
  const { mailbox, id } = draft
  let sending = false
  try {
    if (detached !== null) {
      const failed = await attach(mailbox, id, detached, signal, requestMs)
      if (failed !== null) return failed
    }
    sending = true
    draft.onDot()
    const called = await mailbox.send(id)
    if (called.kind === 'undone') sending = false
    if (called.kind === 'reply') {
      if (called.reply.status === 202) return sent(acceptedText(called.reply))
      // Any other 2xx is not its own: known of Graph are 200 that came to nothing. The draft says what is true.
      if (called.reply.status >= 400 && called.reply.status < 500) {
        sending = false
        const refused = graphAnswer(called.reply)
        // The mailbox is there, it made the draft: the draft is what was not found.
        return refused.kind === 'elsewhere' ? deferred('the draft was gone before it was sent', '4.3.0') : refused
      }
    }
    if (!sending) return refusalOf(called)
    return await settle(draft)
  } finally {
    // A draft that was surely not sent would be left in the person's Drafts.
    if (!sending) await draft.afterwards().purge(id)
  }
}

/** After a lost answer: whether the draft was sent, and if it was not, that it never will be. */
async function settle({ afterwards, id, lookMs }: Draft): Promise<ApiAnswer> {
  const mailbox = afterwards()
  const until = performance.now() + lookMs * 0.7
  let state: 'draft' | 'gone' | 'silent' = 'silent'
  for (let wait = lookMs / 20; ; wait *= 2) {
    const called = await mailbox.look(id)
    const status = called.kind === 'reply' ? called.reply.status : 0
    if (status === 200 && called.kind === 'reply') {
      if (at(called.reply.body, 'isDraft') === false)
        return sent('Microsoft Graph: found in Sent Items after its answer was lost')
      state = 'draft'
    } else if (status === 404) state = 'gone'
    if (performance.now() + wait > until) break
    await pause(wait, AbortSignal.timeout(lookMs))
  }
  if (state === 'draft') {
    const purged = await mailbox.purge(id)
    if (purged.kind === 'reply' && purged.reply.status === 204)
      return deferred('not sent: it was still a draft, which was withdrawn', '4.4.2')
  }
  return unknown('Microsoft Graph did not answer, and what became of the draft cannot be seen')
}

/** Null once the attachment is there. */
async function attach(
  mailbox: GraphMailbox,
  id: string,
  detached: Detached,
  signal: AbortSignal,
  requestMs: number,
): Promise<ApiAnswer | null> {
  const opened = await mailbox.openUpload(id, detached)
  const url = opened.kind === 'reply' && opened.reply.status === 201 ? at(opened.reply.body, 'uploadUrl') : undefined
  if (typeof url !== 'string') return refusalOf(opened)
  const end = await uploadRanges(url, detached, signal, requestMs)
  if (end.kind === 'done') return null
  return end.reply === null ? deferred('the upload of the attachment broke off', '4.4.2') : graphAnswer(end.reply)
}

/** Of a request without which nothing is sent. */
function refusalOf(called: Called): ApiAnswer {
  switch (called.kind) {
    case 'reply':
      // Known of Graph: a mail over its limit is answered 200, and nothing is made.
      if (called.reply.status === 200)
        return refusal(552, '5.3.4', 'Microsoft Graph took the mail and made nothing of it')
      return graphAnswer(called.reply)
    case 'lost':
      return deferred(`Microsoft Graph: ${called.reason}`, '4.4.2')
    case 'undone':
      return deferred(called.reason, called.enhanced)
  }
}

function acceptedText(reply: ApiReply): string {
  const request = reply.headers.get('request-id')
  return `accepted by Microsoft Graph${request === null ? '' : `, request ${request}`}`
}
