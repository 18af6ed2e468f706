import { TokenFault, type TokenSource } from './oauth-token.ts'

/** What a provider's HTTP API answered. */
export type ApiReply = {
  readonly status: number
  readonly headers: Headers
  /** Parsed where it is JSON, else null. */
  readonly body: unknown
}

/**
 * `lost`: the request may or may not have been heard. `undone`: surely nothing came of it; why, in words and by RFC 3463, and whether it is that the
 * provider has no such mailbox.
 */
export type Called =
  | { readonly kind: 'reply'; readonly reply: ApiReply }
  | { readonly kind: 'lost'; readonly reason: string }
  | { readonly kind: 'undone'; readonly reason: string; readonly enhanced: string; readonly noMailbox?: boolean }

export type CallOptions = {
  readonly tokens: TokenSource
  readonly mailbox: string
  readonly signal: AbortSignal
  /** No wait lasts longer than this time of performance.now(). */
  readonly until: number
  /** Milliseconds for one request. */
  readonly requestMs: number
  /** Whether a reply says that the request was not heard, and may be made again after a while. */
  readonly throttled: (reply: ApiReply) => boolean
}

/** The mail's own stream failed while a request was made: nothing to do with the provider. */
export class SourceFault extends Error {
  override readonly name = 'SourceFault'
  constructor(cause: unknown) {
    super('the mail could not be read', { cause })
  }
}

/**
 * Makes a request: again after a 401 with a new token, once, and again after the time that a throttled reply asks for (RFC 9110 10.2.3; twice
 * as long each time where it names none to come), as long as the time allows. Nothing else is repeated.
 */
export async function call(
  options: CallOptions,
  request: (token: string, signal: AbortSignal) => Promise<ApiReply>,
): Promise<Called> {
  const { tokens, mailbox, signal } = options
  let renewed = false
  for (let attempt = 0; ; attempt++) {
    let token: string
    try {
      token = await tokens.token(mailbox, signal)
    } catch (error) {
      if (error instanceof TokenFault) {
        return { kind: 'undone', reason: error.message, enhanced: '4.7.0', noMailbox: error.noMailbox }
      }
      return { kind: 'undone', reason: 'the delivery was given up', enhanced: '4.4.2' }
    }
    let reply: ApiReply
    try {
      reply = await request(token, AbortSignal.any([signal, AbortSignal.timeout(options.requestMs)]))
      if (reply.status === 401 && !renewed) {
        renewed = true
        tokens.forget(mailbox, token)
        continue
      }
    } catch (error) {
      if (error instanceof SourceFault) throw error
      return { kind: 'lost', reason: lossOf(error, signal) }
    }
    if (!options.throttled(reply)) return { kind: 'reply', reply }
    const wait = waitOf(reply, attempt)
    if (performance.now() + wait >= options.until) return { kind: 'reply', reply }
    if (!(await pause(wait, signal))) return { kind: 'reply', reply }
  }
}

/** Reads a response of fetch to its end. */
export async function replyOf(response: Response): Promise<ApiReply> {
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: jsonOf(text) }
}

/** False if the signal ended the pause. */
export function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false)
  return new Promise((resolve) => {
    const end = (whole: boolean) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
      resolve(whole)
    }
    const giveUp = () => end(false)
    const timer = setTimeout(() => end(true), ms)
    signal.addEventListener('abort', giveUp, { once: true })
  })
}

/** A value of a parsed answer, by its path; undefined where there is none. */
export function at(body: unknown, ...path: readonly string[]): unknown {
  let value = body
  for (const name of path) {
    if (typeof value !== 'object' || value === null) return undefined
    value = new Map(Object.entries(value)).get(name)
  }
  return value
}

function waitOf(reply: ApiReply, attempt: number): number {
  const asked = reply.headers.get('retry-after') ?? ''
  const wait = /^\d{1,6}$/.test(asked) ? 1000 * Number(asked) : Date.parse(asked) - Date.now()
  // No time, no time that can be read, or one that is over, by a clock that is not ours.
  return wait > 0 ? wait : 1000 * 2 ** Math.min(attempt, 5) * (1 + Math.random() / 4)
}

function lossOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return 'the delivery was given up'
  // Libraries wrap what happened; the name is all that is to be told of it.
  const timedOut = String(error).includes('Timeout') || (error instanceof Error && /Timeout/.test(error.name))
  return timedOut ? 'the provider did not answer in time' : 'the connection to the provider broke off'
}

function jsonOf(text: string): unknown {
  if (text === '') return null
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
