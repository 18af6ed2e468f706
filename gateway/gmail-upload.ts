import { type ApiReply, at, type Called, call, pause, replyOf } from './api-call.ts'
import type { OutgoingMail } from './courier.ts'
import { isThrottled } from './gmail-answer.ts'
import { type GmailApi, units } from './gmail-mailbox.ts'
import { octetsOf } from './letter.ts'

/** Octets of one request: a multiple of 256 KiB. */
const CHUNK = 16 * 262_144
const TRIES = 3

/**
 * users.messages.send by Google's resumable upload: a session is opened, then the mail goes in chunks, and the answer to the last is that of the
 * send. After a lost answer the session is asked how far it is, so that nothing is sent twice; `lost` only if it cannot be asked either.
 * Rejects with a SourceFault, before the last chunk.
 */
export async function sendResumable(
  api: GmailApi,
  mailbox: string,
  mail: OutgoingMail,
  signal: AbortSignal,
  until: number,
): Promise<Called> {
  const options = { ...api, mailbox, signal, until, throttled: isThrottled }
  if (!(await api.quota.spend(mailbox, units.send, signal, until))) {
    return { kind: 'reply', reply: { status: 429, headers: new Headers(), body: null } }
  }
  const opened = await call(options, async (token, limit) => {
    const url = `${api.endpoint}/upload/gmail/v1/users/me/messages/send?uploadType=resumable`
    const headers = {
      Authorization: `Bearer ${token}`,
      'Content-Type': 'application/json',
      'X-Upload-Content-Type': 'message/rfc822',
      'X-Upload-Content-Length': String(mail.size),
    }
    return replyOf(await fetch(url, { method: 'POST', headers, body: '{}', redirect: 'error', signal: limit }))
  })
  if (opened.kind !== 'reply') return { enhanced: '4.4.2', ...opened, kind: 'undone' }
  const location = opened.reply.status === 200 ? opened.reply.headers.get('location') : null
  // The session's address stands for the right to send: it must be the provider's own.
  if (location === null || new URL(location, api.endpoint).origin !== new URL(api.endpoint).origin) return opened
  return putAll({ url: location, size: mail.size, requestMs: api.requestMs, signal }, mail)
}

type Session = { readonly url: string; readonly size: number; readonly requestMs: number; readonly signal: AbortSignal }

async function putAll(session: Session, mail: OutgoingMail): Promise<Called> {
  let start = 0
  for await (const chunk of inChunks(octetsOf(mail), session.size)) {
    const end = start + chunk.length
    const put = await putChunk(session, chunk, start)
    if (put.kind !== 'reply' || put.reply.status !== 308) return put
    start = end
  }
  return start === session.size ? { kind: 'lost', reason: 'the upload has no end' } : brokenOff
}

const brokenOff: Called = { kind: 'undone', reason: 'the upload broke off before its end', enhanced: '4.4.2' }

/** The answer that counts: 308 once the chunk is there, or what ends the session. */
async function putChunk(session: Session, chunk: Buffer<ArrayBuffer>, start: number): Promise<Called> {
  const end = start + chunk.length
  // Without its last octets nothing is sent.
  const silent: Called = end < session.size ? brokenOff : { kind: 'lost', reason: 'the upload broke off' }
  let from = start
  for (let tries = 1; tries <= TRIES; tries++) {
    const range = `bytes ${from}-${end - 1}/${session.size}`
    let reply = await put(session, chunk.subarray(from - start), range, session.signal)
    if (isSilence(reply)) {
      // Asked even if the time is up: it alone knows whether the mail was sent.
      reply = await put(session, null, `bytes */${session.size}`, AbortSignal.timeout(3_000))
    }
    if (reply !== null && !isSilence(reply)) {
      // The session is not known any more: it may have ended with a sent mail.
      if (reply.status === 404 || reply.status === 410) return silent
      if (reply.status !== 308) return { kind: 'reply', reply }
      const taken = takenBy(reply)
      if (taken >= end) return { kind: 'reply', reply }
      // Less than it had before makes no sense: what became of the chunk is not known.
      if (taken < start) return silent
      if (session.signal.aborted) return brokenOff
      from = taken
    }
    if (!(await pause(500 * tries, session.signal))) return silent
  }
  return silent
}

/** Nothing that says what became of the chunk. */
function isSilence(reply: ApiReply | null): boolean {
  return reply === null || reply.status === 429 || reply.status >= 500
}

async function put(
  { url, requestMs }: Session,
  body: Buffer<ArrayBuffer> | null,
  range: string,
  signal: AbortSignal,
): Promise<ApiReply | null> {
  try {
    const headers = { 'Content-Type': 'message/rfc822', 'Content-Range': range }
    const limit = AbortSignal.any([signal, AbortSignal.timeout(requestMs)])
    return await replyOf(await fetch(url, { method: 'PUT', headers, body, redirect: 'manual', signal: limit }))
  } catch {
    // The session is asked what it has.
    return null
  }
}

/** Octets that the session has, by its Range field; none where there is no such field. */
function takenBy(reply: ApiReply): number {
  const [, last] = /^bytes=0-(\d+)$/.exec(reply.headers.get('range') ?? '') ?? []
  return last === undefined ? 0 : Number(last) + 1
}

/** Whole chunks, the last one only after the mail has ended as long as it said: a mail that breaks off is never complete. */
async function* inChunks(source: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Buffer<ArrayBuffer>> {
  let buffer = Buffer.allocUnsafe(Math.min(CHUNK, size))
  let held = 0
  let given = 0
  for await (const chunk of source) {
    for (let from = 0; from < chunk.length; ) {
      if (held === buffer.length) {
        given += held
        yield buffer
        buffer = Buffer.allocUnsafe(Math.min(CHUNK, Math.max(1, size - given)))
        held = 0
      }
      const part = chunk.subarray(from, from + buffer.length - held)
      buffer.set(part, held)
      held += part.length
      from += part.length
    }
  }
  if (given + held === size) yield buffer.subarray(0, held)
}

/** Whether a reply of `sendResumable` says that the mail was sent. */
export function isSent(reply: ApiReply): boolean {
  return reply.status >= 200 && reply.status < 300 && typeof at(reply.body, 'id') === 'string'
}
