import { createHmac, randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import type { Challenge } from './store.ts'

/** A one-time code lives ten minutes and bears five tries. */
export const CODE_LIFE_MS = 10 * 60_000
export const CODE_TRIES = 5

/** Eight digits, each of the hundred million equally likely. */
export function newCode(): string {
  return String(randomInt(100_000_000)).padStart(8, '0')
}

/** What the page holds of a code: 16 random octets, base64url. */
export function newChallengeId(): string {
  return randomBytes(16).toString('base64url')
}

/** HMAC-SHA-256 under the server's secret, so that a stolen database yields no code; bound to challenge and browser key. */
export function codeHash(secret: Uint8Array, challenge: string, thumbprint: string, code: string): Uint8Array {
  return createHmac('sha256', secret).update(`sealpost/code/v1\n${challenge}\n${thumbprint}\n${code}`).digest()
}

/**
 * Whether `code` answers the challenge. The same work is done where the challenge is nobody's: such a one is never answered.
 */
export function answers(secret: Uint8Array, challenge: Challenge, thumbprint: string, code: string): boolean {
  const given = codeHash(secret, challenge.id, thumbprint, code)
  const equal = timingSafeEqual(given, challenge.codeHash ?? randomBytes(32))
  return equal && challenge.codeHash !== null
}
