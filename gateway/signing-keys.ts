import { createPublicKey, type KeyObject } from 'node:crypto'
import type { SigningKeys } from '../protocol/gateway-api.ts'

/** The key server's public keys, which sign tickets and system mail. */
export type SigningKeyRing = {
  /** The key of that id, or null. Rejects if the key server cannot be asked and the id is not known yet. */
  find(kid: string): Promise<KeyObject | null>
}

/** An unknown id makes us ask again, but no more often than this. */
const PAUSE_MS = 5_000
/** Keys that the key server does not name any more are forgotten after so long. */
const STALE_MS = 600_000

/** `fetch` is GET /v1/keys. */
export function createSigningKeyRing(fetch: () => Promise<SigningKeys>, now: () => number = Date.now): SigningKeyRing {
  let keys = new Map<string, KeyObject>()
  let askedAt = Number.NEGATIVE_INFINITY
  let asking: Promise<void> | null = null

  async function ask(): Promise<void> {
    askedAt = now()
    try {
      const answer = await fetch()
      keys = new Map(answer.keys.map(({ kid, kty, crv, x }) => [kid, publicKey({ kty, crv, x })]))
    } finally {
      asking = null
    }
  }

  return {
    async find(kid) {
      const age = now() - askedAt
      if (age > STALE_MS || (!keys.has(kid) && age > PAUSE_MS)) {
        asking ??= ask()
        // Known keys serve while the key server is away.
        if (keys.has(kid)) await asking.catch(() => undefined)
        else await asking
      } else if (asking !== null && !keys.has(kid)) await asking
      return keys.get(kid) ?? null
    },
  }
}

function publicKey(key: { kty: string; crv: string; x: string }): KeyObject {
  return createPublicKey({ key, format: 'jwk' })
}
