/** Access tokens for the couriers' clouds (RFC 6749): fetched when needed, kept until shortly before they end. */

export type TokenSource = {
  /**
   * A token to act for that mailbox. One request at a time for each mailbox, whoever waits for it. Rejects with {@link TokenFault}, or with the
   * signal's reason.
   */
  token(mailbox: string, signal: AbortSignal): Promise<string>
  /** That token was refused: the next one is fetched anew. */
  forget(mailbox: string, token: string): void
}

/** No token can be had. The message names the cause in words for the log and for replies; it holds no secret. */
export class TokenFault extends Error {
  override readonly name = 'TokenFault'
  /** The mailbox is none of the cloud's: not a passing fault, and none of the credentials. */
  readonly noMailbox: boolean

  constructor(message: string, noMailbox = false) {
    super(message)
    this.noMailbox = noMailbox
  }
}

export type TokenSourceOptions = {
  /** The token endpoint. */
  readonly url: string
  /** What one token serves: `directory` a single one for every mailbox, `mailbox` one each. */
  readonly per: 'directory' | 'mailbox'
  /** The form of a request (RFC 6749 4). */
  readonly form: (mailbox: string) => Promise<Readonly<Record<string, string>>>
  /** Milliseconds for one request. 15,000 if absent. */
  readonly timeoutMs?: number
}

type Kept = { readonly token: string; readonly until: number }

/** Mailboxes whose tokens are kept at the same time. */
const KEPT = 10_000
const SHORTEST = 60_000
/** What Google says with `invalid_grant` and `invalid_request` of a `sub` that is nobody's mailbox: a group, an alias, an account that is gone. */
const NO_MAILBOX = /^(?:not a valid email|invalid email or user id|invalid impersonation|the account has been deleted)/i

export function createTokenSource(options: TokenSourceOptions): TokenSource {
  const kept = new Map<string, Kept>()
  const underWay = new Map<string, Promise<string>>()
  const keyOf = (mailbox: string) => (options.per === 'directory' ? '' : mailbox)

  async function fetchToken(mailbox: string): Promise<string> {
    const asked = performance.now()
    const { token, lifetime } = await request(options, await options.form(mailbox))
    if (kept.size >= KEPT) kept.clear()
    // Renewed a minute early, or after three quarters of a short life.
    const until = asked + Math.max(lifetime - SHORTEST, lifetime * 0.75)
    kept.set(keyOf(mailbox), { token, until })
    return token
  }

  return {
    async token(mailbox, signal) {
      signal.throwIfAborted()
      const key = keyOf(mailbox)
      const known = kept.get(key)
      if (known !== undefined && performance.now() < known.until) return known.token
      let running = underWay.get(key)
      if (running === undefined) {
        running = fetchToken(mailbox).finally(() => underWay.delete(key))
        underWay.set(key, running)
      }
      return untilAborted(running, signal)
    },
    forget(mailbox, token) {
      if (kept.get(keyOf(mailbox))?.token === token) kept.delete(keyOf(mailbox))
    },
  }
}

async function request(
  { url, timeoutMs }: TokenSourceOptions,
  form: Readonly<Record<string, string>>,
): Promise<{ readonly token: string; readonly lifetime: number }> {
  let response: Response
  let body: Record<string, unknown>
  try {
    const signal = AbortSignal.timeout(timeoutMs ?? 15_000)
    response = await fetch(url, { method: 'POST', body: new URLSearchParams(form), redirect: 'error', signal })
    body = record(await response.json())
  } catch {
    throw new TokenFault('the token endpoint gave no answer that can be read')
  }
  const { access_token: token, expires_in: lifetime, error, error_description: description } = body
  if (!response.ok || typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    const said = typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? `: ${error}` : ''
    const noMailbox = typeof description === 'string' && NO_MAILBOX.test(description)
    throw new TokenFault(`the token endpoint refused (HTTP ${response.status}${said})`, noMailbox)
  }
  return { token, lifetime: 1000 * (Number(lifetime) > 0 ? Number(lifetime) : 300) }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason)
    signal.addEventListener('abort', giveUp, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp))
  })
}
