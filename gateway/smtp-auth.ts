import { TokenFault, type TokenSource } from './oauth-token.ts'
import type { Reply } from './smtp-reply.ts'

/** How we sign in at a next hop (RFC 4954): with a password, or with a token of the cloud that it belongs to. */
export type SmtpAuth =
  | { readonly user: string; readonly password: string }
  | { readonly user: string; readonly tokens: TokenSource }

/** Why we could not sign in; always temporary. */
export type AuthFault = {
  readonly enhanced: string
  readonly text: string
  /** What the next hop answered, where it did. */
  readonly reply: Reply | null
}

export type Ask = (command: string) => Promise<Reply>

/** Signs in by what `offered` (the words after AUTH in the answer to EHLO) allows; null once that is done. Only ever over TLS. */
export async function authenticate(
  ask: Ask,
  auth: SmtpAuth,
  offered: string,
  timeoutMs: number,
): Promise<AuthFault | null> {
  const ways = offered.toUpperCase().split(' ')
  return 'tokens' in auth ? withToken(ask, auth, ways, timeoutMs) : withPassword(ask, auth, ways)
}

async function withPassword(
  ask: Ask,
  auth: { readonly user: string; readonly password: string },
  ways: readonly string[],
): Promise<AuthFault | null> {
  let reply: Reply
  if (ways.includes('PLAIN')) {
    reply = await ask(`AUTH PLAIN ${base64(`\0${auth.user}\0${auth.password}`)}\r\n`)
  } else if (ways.includes('LOGIN')) {
    reply = await ask('AUTH LOGIN\r\n')
    if (reply.code === 334) reply = await ask(`${base64(auth.user)}\r\n`)
    if (reply.code === 334) reply = await ask(`${base64(auth.password)}\r\n`)
  } else return fault('4.7.0', 'the next hop offers neither AUTH PLAIN nor AUTH LOGIN')
  return reply.code === 235 ? null : refused(reply)
}

/** XOAUTH2, as Microsoft and Google document it. A token that is refused may have been withdrawn: one more is tried. */
async function withToken(
  ask: Ask,
  { user, tokens }: { readonly user: string; readonly tokens: TokenSource },
  ways: readonly string[],
  timeoutMs: number,
): Promise<AuthFault | null> {
  if (!ways.includes('XOAUTH2')) return fault('4.7.0', 'the next hop does not offer AUTH XOAUTH2')
  let last: Reply | null = null
  for (let tries = 0; tries < 2; tries++) {
    let token: string
    try {
      token = await tokens.token(user, AbortSignal.timeout(timeoutMs))
    } catch (error) {
      const why = error instanceof TokenFault ? error.message : 'the token endpoint did not answer in time'
      return fault('4.7.0', `no token for the next hop: ${why}`)
    }
    let reply = await ask(`AUTH XOAUTH2 ${base64(`user=${user}\x01auth=Bearer ${token}\x01\x01`)}\r\n`)
    // The reason comes as a challenge; an empty answer brings the reply itself.
    if (reply.code === 334) reply = await ask('\r\n')
    if (reply.code === 235) return null
    tokens.forget(user, token)
    last = reply
  }
  return refused(last)
}

function refused(reply: Reply | null): AuthFault {
  return { enhanced: '4.7.8', text: 'the next hop did not accept our sign-in', reply }
}

function fault(enhanced: string, text: string): AuthFault {
  return { enhanced, text, reply: null }
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}
