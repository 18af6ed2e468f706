import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { jwtVerify } from 'jose'
import { parseHeader } from '../../gateway/header.ts'
import { type Answer, type Asked, type CloudEdge, startCloudEdge } from './cloud-edge.ts'

export type GmailMessage = { readonly id: string; readonly mailbox: string; readonly raw: Buffer }

/** Behaves as Google documents the Gmail API, in what the courier uses: delegation, uploads, search, errors. */
export type GmailServer = CloudEdge & {
  /** What was sent, in order. */
  readonly messages: GmailMessage[]
  /** By token, the mailbox it is good for. */
  readonly tokens: Map<string, string>
  readonly account: { readonly email: string; readonly keyId: string; readonly privateKey: string }
  /** The search does not know the last messages yet. */
  lagging: boolean
  /** Octets that a resumable session takes of each chunk, at most. */
  takes: number
}

const LARGEST = 36_700_160
const MULTIPLE = 262_144

export async function startGmailServer(mailboxes: readonly string[] = ['anna@acme.example']): Promise<GmailServer> {
  const messages: GmailMessage[] = []
  const tokens = new Map<string, string>()
  const sessions = new Map<string, { mailbox: string; size: number; octets: Buffer; message: GmailMessage | null }>()
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const privateKey = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const edge = await startCloudEdge((asked) => (asked.url.pathname === '/token' ? token(asked) : api(asked)))
  const server: GmailServer = {
    ...edge,
    ...{ messages, tokens, lagging: false, takes: Number.MAX_SAFE_INTEGER },
    account: { email: 'gateway@project.iam.gserviceaccount.example', keyId: 'key-1', privateKey },
  }

  async function token({ body }: Asked): Promise<Answer> {
    const form = new URLSearchParams(body.toString())
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer')
      return { status: 400, body: { error: 'invalid_request' } }
    const checks = {
      audience: `${edge.origin}/token`,
      issuer: server.account.email,
      algorithms: ['RS256'],
      requiredClaims: ['exp', 'iat'],
    }
    const verified = await jwtVerify(form.get('assertion') ?? '', pair.publicKey, checks).catch(() => null)
    const { sub = '', scope = '' } = verified?.payload ?? {}
    const scopes = String(scope).split(' ')
    if (verified === null || !mailboxes.includes(sub)) return { status: 400, body: { error: 'invalid_grant' } }
    if (!scopes.includes('https://www.googleapis.com/auth/gmail.send'))
      return { status: 401, body: { error: 'unauthorized_client' } }
    const made = randomBytes(24).toString('base64url')
    tokens.set(made, sub)
    return { status: 200, body: { token_type: 'Bearer', expires_in: 3599, access_token: made } }
  }

  function api(asked: Asked): Answer {
    const path = asked.url.pathname
    const [, session] = /^\/upload\/gmail\/v1\/users\/me\/messages\/send$/.test(path)
      ? [null, asked.url.searchParams.get('upload_id')]
      : []
    if (typeof session === 'string') return putChunk(asked, session)
    const mailbox = tokens.get((asked.headers.authorization ?? '').replace('Bearer ', ''))
    if (mailbox === undefined) return gmailFault(401, 'authError', 'Invalid Credentials')
    if (path.startsWith('/upload/')) return upload(asked, mailbox)
    if (path === '/gmail/v1/users/me/messages') return list(asked, mailbox)
    const message = messages.find((one) => one.mailbox === mailbox && path === `/gmail/v1/users/me/messages/${one.id}`)
    return message === undefined ? gmailFault(404, 'notFound', 'Requested entity was not found.') : get(asked, message)
  }

  function take(mailbox: string, raw: Buffer): GmailMessage {
    const message = { id: randomBytes(8).toString('hex'), mailbox, raw }
    messages.push(message)
    return message
  }

  function upload({ url, headers, body }: Asked, mailbox: string): Answer {
    if (url.searchParams.get('uploadType') === 'media') {
      if (headers['content-type'] !== 'message/rfc822')
        return gmailFault(400, 'badContent', 'Media type is not supported.')
      return { status: 200, body: { id: take(mailbox, body).id, labelIds: ['SENT'] } }
    }
    const size = Number(headers['x-upload-content-length'])
    if (!(size <= LARGEST)) return gmailFault(413, 'uploadTooLarge', 'Request entity too large')
    const key = randomBytes(12).toString('base64url')
    sessions.set(key, { mailbox, size, octets: Buffer.alloc(0), message: null })
    const location = `${edge.origin}/upload/gmail/v1/users/me/messages/send?uploadType=resumable&upload_id=${key}`
    return { status: 200, headers: { location } }
  }

  function putChunk({ headers, body }: Asked, key: string): Answer {
    const session = sessions.get(key)
    if (session === undefined) return gmailFault(404, 'notFound', 'no session')
    const range = headers['content-range'] ?? ''
    const [, first, last] = /^bytes (\d+)-(\d+)\/\d+$/.exec(range) ?? []
    if (first !== undefined && session.message === null) {
      const isLast = Number(last) + 1 === session.size
      if (Number(first) !== session.octets.length || (!isLast && body.length % MULTIPLE !== 0)) {
        return gmailFault(400, 'badRequest', 'wrong place or size')
      }
      const room = Math.min(body.length, server.takes)
      session.octets = Buffer.concat([session.octets, body.subarray(0, room)])
      if (session.octets.length === session.size) session.message = take(session.mailbox, session.octets)
    }
    if (session.message !== null) return { status: 200, body: { id: session.message.id, labelIds: ['SENT'] } }
    const had = session.octets.length
    return { status: 308, headers: had === 0 ? {} : { range: `bytes=0-${had - 1}` } }
  }

  function list({ url }: Asked, mailbox: string): Answer {
    const [, wanted] = /^rfc822msgid:(\S+)$/.exec(url.searchParams.get('q') ?? '') ?? []
    if (wanted === undefined || url.searchParams.get('labelIds') !== 'SENT')
      return gmailFault(400, 'badRequest', 'no search')
    const found = server.lagging
      ? []
      : messages.filter((one) => one.mailbox === mailbox && textOf(one, 'message-id') === `<${wanted}>`)
    return { status: 200, body: { messages: found.map(({ id }) => ({ id })), resultSizeEstimate: found.length } }
  }

  function get({ url }: Asked, message: GmailMessage): Answer {
    const sizeEstimate = message.raw.length
    if (url.searchParams.get('format') === 'raw') {
      return { status: 200, body: { id: message.id, sizeEstimate, raw: message.raw.toString('base64url') } }
    }
    const names = url.searchParams.getAll('metadataHeaders').map((name) => name.toLowerCase())
    const fields = parseHeader(message.raw)?.fields.filter((field) => names.includes(field.key)) ?? []
    const headers = fields.map(({ name, value }) => ({ name, value }))
    return { status: 200, body: { id: message.id, sizeEstimate, payload: { headers } } }
  }

  return server
}

/** An error in Google's form. */
export function gmailFault(status: number, reason: string, message: string): Answer {
  return { status, body: { error: { code: status, message, errors: [{ domain: 'global', reason, message }] } } }
}

function textOf(message: GmailMessage, key: string): string | undefined {
  return parseHeader(message.raw)?.fields.find((field) => field.key === key)?.value
}
