import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { jwtVerify } from 'jose'
import PostalMime, { type Address } from 'postal-mime'
import { type Answer, type Asked, type CloudEdge, startCloudEdge } from './cloud-edge.ts'

/** A message in a mailbox of the stand-in for Microsoft Graph. */
export type GraphMessage = {
  id: string
  readonly immutable: boolean
  readonly mailbox: string
  readonly mime: Buffer
  isDraft: boolean
  readonly attachments: { name: string; contentType: string; content: Buffer }[]
}

/** Behaves as Microsoft documents Graph, in what the courier uses: tokens, limits, errors, ids that change with the folder. */
export type GraphServer = CloudEdge & {
  /** Every message, in order. */
  readonly messages: GraphMessage[]
  readonly sent: () => GraphMessage[]
  /** Tokens issued so far; all but the last few may be made invalid. */
  readonly tokens: Set<string>
  readonly mailboxes: Set<string>
  /** PEM: what was uploaded to the application; null: it has a secret only. */
  certificate: string | null
  /** Milliseconds that every request takes. */
  delayMs: number
  /** MAPI keeps no unknown header field on what it sends, if so. */
  keepsHeaders: boolean
}

/** Requests of one application at the same time on one mailbox. */
const CONCURRENT = 4
const REQUEST = 4_000_000
/** More MIME than this was seen to be answered 200, with nothing made of it. */
const MIME = 2_240_000

export async function startGraphServer(mailboxes: readonly string[] = ['anna@acme.example']): Promise<GraphServer> {
  const messages: GraphMessage[] = []
  const tokens = new Set<string>()
  const sessions = new Map<
    string,
    { message: GraphMessage; name: string; contentType: string; size: number; octets: Buffer }
  >()
  const busy = new Map<string, number>()
  const known = new Set(mailboxes)
  const assertions = new Set<string | undefined>()

  const edge = await startCloudEdge(async (asked) => {
    const [, tenant] = /^\/([^/]+)\/oauth2\/v2\.0\/token$/.exec(asked.url.pathname) ?? []
    if (tenant !== undefined) return token(asked, tenant)
    const [, session] = /^\/upload\/([\w-]+)$/.exec(asked.url.pathname) ?? []
    if (session !== undefined) return putRange(asked, session)
    return api(asked)
  })
  const server: GraphServer = {
    ...edge,
    ...{ messages, tokens, mailboxes: known, certificate: null, delayMs: 0, keepsHeaders: true },
    sent: () => messages.filter((message) => !message.isDraft),
  }

  /** As Entra documents certificate credentials, by another JWT library. */
  async function isAssertion(form: URLSearchParams, url: string): Promise<boolean> {
    if (server.certificate === null || form.has('client_secret')) return false
    if (form.get('client_assertion_type') !== 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer') return false
    const { publicKey, raw } = new X509Certificate(server.certificate)
    const claims = { issuer: 'app-1', subject: 'app-1', audience: url, algorithms: ['PS256'], maxTokenAge: 600 }
    const read = await jwtVerify(form.get('client_assertion') ?? '', publicKey, claims).catch(() => null)
    if (read === null || assertions.has(read.payload.jti)) return false
    assertions.add(read.payload.jti)
    const { typ, 'x5t#S256': thumbprint } = read.protectedHeader
    return typ === 'JWT' && thumbprint === createHash('sha256').update(raw).digest('base64url')
  }

  async function token({ body, url }: Asked, tenant: string): Promise<Answer> {
    const form = new URLSearchParams(body.toString())
    const right =
      tenant === 'directory-1' &&
      form.get('grant_type') === 'client_credentials' &&
      form.get('client_id') === 'app-1' &&
      (form.get('client_secret') === 'very secret' || (await isAssertion(form, url.href))) &&
      form.get('scope') === `${edge.origin}/.default`
    if (!right)
      return { status: 401, body: { error: 'invalid_client', error_description: 'AADSTS7000215: very secret' } }
    const made = randomBytes(24).toString('base64url')
    tokens.add(made)
    return { status: 200, body: { token_type: 'Bearer', expires_in: 3599, access_token: made } }
  }

  async function api(asked: Asked): Promise<Answer> {
    const { authorization = '' } = asked.headers
    if (!tokens.has(authorization.replace('Bearer ', ''))) return fault(401, 'InvalidAuthenticationToken', 'expired')
    const [, user = '', rest = ''] = /^\/v1\.0\/users\/([^/]+)\/messages(.*)$/.exec(asked.url.pathname) ?? []
    const mailbox = decodeURIComponent(user)
    if (!known.has(mailbox)) return fault(404, 'ErrorInvalidUser', `The requested user '${mailbox}' is invalid.`)
    if (asked.body.length > REQUEST) return fault(413, 'RequestEntityTooLarge', 'The maximum request length is 4 MB.')
    const now = (busy.get(mailbox) ?? 0) + 1
    if (now > CONCURRENT) {
      return { ...fault(429, 'ApplicationThrottled', 'MailboxConcurrency'), headers: { 'retry-after': '1' } }
    }
    busy.set(mailbox, now)
    try {
      if (server.delayMs > 0) await sleep(server.delayMs)
      return await act(asked, mailbox, rest.split('/').slice(1).map(decodeURIComponent))
    } finally {
      busy.set(mailbox, (busy.get(mailbox) ?? 1) - 1)
    }
  }

  async function act(asked: Asked, mailbox: string, [id, action, detail]: readonly string[]): Promise<Answer> {
    if (id === undefined) return asked.method === 'POST' ? create(asked, mailbox) : find(asked, mailbox)
    const message = messages.find((one) => one.id === id && one.mailbox === mailbox)
    if (message === undefined)
      return fault(404, 'ErrorItemNotFound', 'The specified object was not found in the store.')
    if (asked.method === 'GET') return { status: 200, body: { id, isDraft: message.isDraft } }
    if (action === 'send') return send(message)
    if (action === 'permanentDelete') {
      messages.splice(messages.indexOf(message), 1)
      return { status: 204 }
    }
    if (action === 'attachments' && detail === 'createUploadSession') return openSession(asked, message)
    return fault(400, 'BadRequest', 'unknown')
  }

  function create({ headers, body }: Asked, mailbox: string): Answer {
    const text = body.toString('latin1')
    if (headers['content-type'] !== 'text/plain' || !/^[A-Za-z0-9+/]+=*$/.test(text)) {
      return fault(400, 'ErrorMimeContentInvalidBase64String', 'Invalid base64 string for MIME content.')
    }
    const mime = Buffer.from(text, 'base64')
    if (mime.length > MIME) return { status: 200 }
    const immutable = headers.prefer === 'IdType="ImmutableId"'
    const id = `AAk${randomBytes(12).toString('base64url')}=`
    messages.push({ id, immutable, mailbox, mime, isDraft: true, attachments: [] })
    return { status: 201, body: { id, isDraft: true } }
  }

  function send(message: GraphMessage): Answer {
    if (!message.isDraft) return fault(403, 'ErrorAccessDenied', 'It is no draft.')
    message.isDraft = false
    // Moved to Sent Items: only an immutable id still leads there.
    if (!message.immutable) message.id = `moved-${message.id}`
    return { status: 202, headers: { 'request-id': '4ff1-77aa' } }
  }

  async function find({ url }: Asked, mailbox: string): Promise<Answer> {
    const [, messageId] = /^internetMessageId eq '(.*)'$/.exec(url.searchParams.get('$filter') ?? '') ?? []
    const value: object[] = []
    for (const message of messages.filter((one) => one.mailbox === mailbox)) {
      const mail = await PostalMime.parse(message.mime)
      if (mail.messageId !== messageId?.replaceAll("''", "'")) continue
      const lists = { toRecipients: mail.to, ccRecipients: mail.cc, bccRecipients: mail.bcc }
      value.push({
        ...{ id: message.id, isDraft: message.isDraft },
        ...Object.fromEntries(Object.entries(lists).map(([name, list]) => [name, recipientsOf(list)])),
        internetMessageHeaders: server.keepsHeaders
          ? mail.headers.map(({ originalKey, value }) => ({ name: originalKey, value }))
          : undefined,
      })
    }
    return { status: 200, body: { value } }
  }

  function openSession({ body }: Asked, message: GraphMessage): Answer {
    const { AttachmentItem: item } = JSON.parse(body.toString())
    if (item.attachmentType !== 'file' || !(item.size > 0)) return fault(400, 'BadRequest', 'no size')
    const key = randomBytes(12).toString('base64url')
    sessions.set(key, {
      message,
      name: item.name,
      contentType: item.contentType,
      size: item.size,
      octets: Buffer.alloc(0),
    })
    return { status: 201, body: { uploadUrl: `${edge.origin}/upload/${key}`, nextExpectedRanges: ['0-'] } }
  }

  function putRange({ headers, body }: Asked, key: string): Answer {
    const session = sessions.get(key)
    if (headers.authorization !== undefined)
      return fault(401, 'InvalidAuthentication', 'The address is signed in itself.')
    if (session === undefined) return fault(404, 'ErrorItemNotFound', 'no session')
    if (body.length > REQUEST) return fault(413, 'RequestEntityTooLarge', 'too large')
    const [, first, last, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers['content-range'] ?? '') ?? []
    const inOrder = Number(first) <= session.octets.length && Number(last) - Number(first) + 1 === body.length
    if (!inOrder || Number(size) !== session.size) return fault(400, 'ErrorInvalidRange', 'out of order')
    session.octets = Buffer.concat([session.octets.subarray(0, Number(first)), body])
    if (session.octets.length < session.size) {
      return { status: 200, body: { nextExpectedRanges: [String(session.octets.length)] } }
    }
    const { message, name, contentType, octets } = session
    message.attachments.push({ name, contentType, content: octets })
    return { status: 201, headers: { location: `${edge.origin}/attachment` } }
  }

  return server
}

/** An error in Graph's form. */
export function fault(status: number, code: string, message: string): Answer {
  return { status, body: { error: { code, message, innerError: { 'request-id': '4ff1-77aa' } } } }
}

function recipientsOf(list: readonly Address[] | undefined): object[] {
  return (list ?? []).map((one) => ({ emailAddress: { address: one.address } }))
}
