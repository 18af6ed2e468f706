import { domainOf, type OrgId, parseAddress } from '../protocol/identifiers.ts'
import type { Accounts } from './accounts.ts'
import { GatewayError } from './error.ts'
import { GreetingFault, type NextHop, openSmtpClient, phaseTimeouts } from './smtp-client.ts'
import { WireFault } from './smtp-wire.ts'

export type ProviderAccountsParts = {
  /** The next hops that know the passwords, by organization; their own `auth` does not matter. */
  readonly hops: ReadonlyMap<OrgId, NextHop>
  /** The domains of the organization's active policy; null while none is known. */
  readonly domainsOf: (org: OrgId) => readonly string[] | null
  /** The most that one question may take, milliseconds. */
  readonly timeoutMs: number
}

/** Questions at the same time, and those that wait; more are told to come again. */
const AT_ONCE = 4
const WAITING = 32

/**
 * Users who sign in with what the organization's own provider knows them by: user name and password are tried at the next hop, over TLS that is
 * verified, and forgotten. The user is an address, and its domain says for which organization they send.
 */
export function createProviderAccounts(parts: ProviderAccountsParts): Accounts {
  const waiting: (() => void)[] = []
  let running = 0

  async function inTurn<T>(ask: () => Promise<T>): Promise<T> {
    if (waiting.length >= WAITING) throw new GatewayError('sign-in-later', { message: 'too many wait to sign in' })
    if (running >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve))
    running += 1
    try {
      return await ask()
    } finally {
      running -= 1
      waiting.shift()?.()
    }
  }

  return {
    async verify(user, password) {
      const address = parseAddress(user)
      // NUL ends a field of AUTH PLAIN (RFC 4616): with one in it something else would be asked than was given.
      if (address === null || password === '' || password.includes('\0')) return null
      const domain = domainOf(address)
      const [org, second] = [...parts.hops.keys()].filter((id) => parts.domainsOf(id)?.includes(domain))
      const hop = org === undefined || second !== undefined ? undefined : parts.hops.get(org)
      if (org === undefined || hop === undefined) return null
      const right = await inTurn(() => isRight({ ...hop, auth: { user, password } }, parts.timeoutMs))
      return right ? { user: address, org } : null
    },
  }
}

async function isRight(hop: NextHop, timeoutMs: number): Promise<boolean> {
  if (hop.tls.mode !== 'verify' && hop.tls.mode !== 'pin') {
    throw new GatewayError('sign-in-later', { message: 'the next hop is not verified, so that no password goes to it' })
  }
  try {
    const { wire } = await openSmtpClient(hop, phaseTimeouts(timeoutMs))
    wire.end('QUIT\r\n')
    return true
  } catch (cause) {
    // RFC 4954 6: 535 and its like are about the password; 4yz is about the provider's day.
    if (cause instanceof GreetingFault && cause.enhanced === '4.7.8' && (cause.reply?.code ?? 0) >= 500) return false
    if (cause instanceof GreetingFault || cause instanceof WireFault) {
      // Its words are the provider's, who may repeat the user's name: they are not logged.
      throw new GatewayError('sign-in-later', { message: `the provider was asked in vain: ${cause.name}` })
    }
    throw cause
  }
}
