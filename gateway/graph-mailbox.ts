import { Client, HTTPMessageHandler, ResponseType } from '@microsoft/microsoft-graph-client'
import { type ApiReply, type Called, call, replyOf } from './api-call.ts'
import { isThrottled } from './graph-answer.ts'
import type { TokenSource } from './oauth-token.ts'

export type GraphApi = {
  /** Without a slash at its end: https://graph.microsoft.com */
  readonly endpoint: string
  readonly tokens: TokenSource
  readonly requestMs: number
}

/** One mailbox by Microsoft Graph (v1.0), for one delivery. Every id is immutable: a draft that was sent still has it. */
export type GraphMailbox = {
  /** POST messages. 201 with an id, if it was made. */
  createDraft(mime: Uint8Array): Promise<Called>
  /** POST messages/{id}/send: 202. */
  send(id: string): Promise<Called>
  /** GET messages/{id}: isDraft. */
  look(id: string): Promise<Called>
  /** The messages with that Message-ID in all folders. */
  find(messageId: string): Promise<Called>
  /** Removes a draft for good, so that it cannot be sent any more. 204. */
  purge(id: string): Promise<Called>
  /** POST messages/{id}/attachments/createUploadSession: uploadUrl. */
  openUpload(
    id: string,
    attachment: { readonly name: string; readonly size: number; readonly contentType: string },
  ): Promise<Called>
}

const select = 'id,isDraft,toRecipients,ccRecipients,bccRecipients,internetMessageHeaders'

export function createGraphMailbox(api: GraphApi, mailbox: string, signal: AbortSignal, until: number): GraphMailbox {
  // The library's own chain would repeat a send after a 503 or 504, which may double a mail: it is left with the wire alone.
  const client = Client.initWithMiddleware({ middleware: [new HTTPMessageHandler()], baseUrl: `${api.endpoint}/` })
  const messages = `/users/${encodeURIComponent(mailbox)}/messages`

  type Way = {
    readonly path: string
    readonly method: 'get' | 'post'
    readonly body?: Buffer | object
    readonly query?: Readonly<Record<string, string>>
  }
  const ask = ({ path, method, body, query }: Way): Promise<Called> =>
    call({ ...api, mailbox, signal, until, throttled: isThrottled }, async (token, limit): Promise<ApiReply> => {
      const request = client
        .api(path)
        .header('Authorization', `Bearer ${token}`)
        .header('Prefer', 'IdType="ImmutableId"')
        .header('Content-Type', body instanceof Buffer ? 'text/plain' : 'application/json')
        .option('signal', limit)
        .option('redirect', 'error')
        .responseType(ResponseType.RAW)
      if (query !== undefined) request.query({ ...query })
      const response: Response = method === 'get' ? await request.get() : await request.post(body ?? '')
      return replyOf(response)
    })

  const one = (id: string) => `${messages}/${encodeURIComponent(id)}`
  return {
    createDraft: (mime) => ask({ path: messages, method: 'post', body: base64Of(mime) }),
    send: (id) => ask({ path: `${one(id)}/send`, method: 'post' }),
    look: (id) => ask({ path: one(id), method: 'get', query: { $select: 'id,isDraft' } }),
    find(messageId) {
      const filter = `internetMessageId eq '${messageId.replaceAll("'", "''")}'`
      return ask({ path: messages, method: 'get', query: { $filter: encodeURIComponent(filter), $select: select } })
    },
    purge: (id) => ask({ path: `${one(id)}/permanentDelete`, method: 'post' }),
    openUpload: (id, { name, size, contentType }) =>
      ask({
        path: `${one(id)}/attachments/createUploadSession`,
        method: 'post',
        body: { AttachmentItem: { attachmentType: 'file', name, size, contentType } },
      }),
  }
}

/** The text of an already allocated body: no string of the whole mail is made by us. */
function base64Of(mime: Uint8Array): Buffer {
  return Buffer.from(Buffer.from(mime.buffer, mime.byteOffset, mime.length).toString('base64'), 'latin1')
}
