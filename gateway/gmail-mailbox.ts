import { gmail } from '@googleapis/gmail'
import { type ApiReply, at, type Called, call } from './api-call.ts'
import { isThrottled } from './gmail-answer.ts'
import type { TokenSource } from './oauth-token.ts'
import type { Quota } from './quota.ts'

export type GmailApi = {
  /** Without a slash at its end: https://gmail.googleapis.com */
  readonly endpoint: string
  readonly tokens: TokenSource
  readonly requestMs: number
  readonly quota: Quota
}

/** One mailbox by the Gmail API (v1), for one delivery. Each method costs quota units, as Google's table says. */
export type GmailMailbox = {
  /** users.messages.send, the mail in one request. */
  send(mime: Buffer): Promise<Called>
  /** The ids of messages sent with that Message-ID. */
  find(messageId: string): Promise<Called>
  /** A message's header. */
  header(id: string): Promise<Called>
  /** A whole message, base64url. */
  raw(id: string): Promise<Called>
}

/** https://developers.google.com/workspace/gmail/api/reference/quota */
export const units = { send: 100, list: 5, get: 5 } as const

export function createGmailMailbox(api: GmailApi, mailbox: string, signal: AbortSignal, until: number): GmailMailbox {
  // Uploads heed the address only if it stands with the request, the others only if it stands here.
  const rootUrl = `${api.endpoint}/`
  const client = gmail({ version: 'v1', rootUrl })
  const ask = (request: (options: object) => Promise<Answered>) =>
    call({ ...api, mailbox, signal, until, throttled: isThrottled }, async (token, limit): Promise<ApiReply> => {
      const headers = { Authorization: `Bearer ${token}` }
      const {
        status,
        headers: answered,
        data,
      } = await request({
        // The library repeats some requests by itself; what may be repeated is decided here.
        ...{ rootUrl, headers, signal: limit, retry: false, redirect: 'error', validateStatus: () => true },
      })
      return { status, headers: headersOf(answered), body: data }
    })
  const paid = async (cost: number, request: (options: object) => Promise<Answered>): Promise<Called> => {
    if (await api.quota.spend(mailbox, cost, signal, until)) return ask(request)
    return { kind: 'reply', reply: { status: 429, headers: new Headers(), body: null } }
  }

  const { messages } = client.users
  const userId = 'me'
  return {
    send: (mime) =>
      paid(units.send, (options) =>
        messages.send({ userId, media: { mimeType: 'message/rfc822', body: mime } }, options),
      ),
    find: (messageId) => {
      const q = `rfc822msgid:${messageId.replace(/[<>\s"]/g, '')}`
      return paid(units.list, (options) => messages.list({ userId, q, labelIds: ['SENT'], maxResults: 20 }, options))
    },
    header: (id) => {
      const metadataHeaders = ['To', 'Cc', 'Bcc', 'Sealpost-Handled']
      return paid(units.get, (options) => messages.get({ userId, id, format: 'metadata', metadataHeaders }, options))
    },
    raw: (id) => paid(units.get, (options) => messages.get({ userId, id, format: 'raw' }, options)),
  }
}

type Answered = { readonly status: number; readonly headers: object; readonly data: unknown }

/** The library gives a plain object, or the Headers of a fetch that is not the global one. */
function headersOf(answered: object): Headers {
  const headers = new Headers()
  for (const [name, value] of isIterable(answered) ? answered : Object.entries(answered)) {
    if (typeof value === 'string') headers.set(name, value)
  }
  return headers
}

function isIterable(value: object): value is Iterable<readonly [string, unknown]> {
  return Symbol.iterator in value
}

/** The ids in the answer of `find`. */
export function idsIn(reply: ApiReply): readonly string[] {
  const found = at(reply.body, 'messages')
  const list: readonly unknown[] = Array.isArray(found) ? found : []
  return list.map((one) => at(one, 'id')).filter((id) => typeof id === 'string')
}
