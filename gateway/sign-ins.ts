import { createHmac, randomBytes } from 'node:crypto'
import type { Accounts, SignedIn } from './accounts.ts'

/**
 * The attempts to sign in on one connection. What came of one is known for as long as the connection lasts and no longer, by a digest under a
 * key of its own: no password is kept.
 */
export type SignIns = {
  /** As {@link Accounts.verify}, which is not asked twice about the same. */
  verify(
    accounts: Accounts,
    given: { readonly username?: string | undefined; readonly password?: string | null | undefined },
  ): Promise<SignedIn | null>
}

export function createSignIns(): SignIns {
  let key: Buffer | null = null
  const known = new Map<string, SignedIn | null>()
  return {
    async verify(accounts, { username, password }) {
      const user = username ?? ''
      key ??= randomBytes(32)
      const digest = createHmac('sha256', key)
        .update(JSON.stringify([user, password]))
        .digest('base64')
      const before = known.get(digest)
      if (before !== undefined) return before
      const found = await accounts.verify(user, password ?? '')
      known.set(digest, found)
      return found
    },
  }
}
