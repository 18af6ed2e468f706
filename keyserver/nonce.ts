import { createHash, createHmac, randomBytes } from 'node:crypto'

/** Server nonces for DPoP (RFC 9449 section 8) and the memory of the proofs that were made with them. */
export type Nonces = {
  /** The nonce to use from now on. */
  current(): string
  /** Whether `nonce` is one of ours and still good. */
  accepts(nonce: string): boolean
  /**
   * Remembers the proof `jti` of the key `thumbprint` for as long as its nonce lives. False if it was there already: a replay, whatever
   * its octets (a signature has several encodings and, in ECDSA, two values).
   */
  remember(thumbprint: string, jti: string): boolean
}

const SLOT_MS = 150_000

/**
 * A nonce is an HMAC of the number of its slot; nothing is stored for it, and it is no secret. It is good in its own slot of 2.5 minutes
 * and in the next. The key is random per start because the memory of proofs ends with the process: no proof outlives what remembers it.
 * That memory is bounded: a slot that holds `capacity` proofs ends early, and nonces go before their time; the page then gets
 * `use-dpop-nonce` and tries again. `now` is monotonic milliseconds: a wall clock that jumps changes nothing here.
 */
export function createNonces(now: () => number = () => performance.now(), capacity = 150_000): Nonces {
  const key = randomBytes(32)
  const nonceOf = (slot: number) => createHmac('sha256', key).update(`sealpost/nonce/v1\n${slot}`).digest('base64url')
  let slot = 1
  let since = now()
  let nonces = { current: nonceOf(1), previous: nonceOf(0) }
  let seen = { current: new Set<string>(), previous: new Set<string>() }

  function turn(): void {
    const age = now() - since
    if (age < SLOT_MS && seen.current.size < capacity) return
    const bothOver = age >= 2 * SLOT_MS
    slot += bothOver ? 2 : 1
    since = now()
    nonces = { current: nonceOf(slot), previous: nonceOf(slot - 1) }
    seen = { current: new Set(), previous: bothOver ? new Set() : seen.current }
  }
  return {
    current() {
      turn()
      return nonces.current
    },
    accepts(nonce) {
      turn()
      return nonce === nonces.current || nonce === nonces.previous
    },
    remember(thumbprint, jti) {
      const proof = createHash('sha256').update(`${thumbprint}\n${jti}`).digest('base64url')
      if (seen.current.has(proof) || seen.previous.has(proof)) return false
      seen.current.add(proof)
      return true
    },
  }
}
