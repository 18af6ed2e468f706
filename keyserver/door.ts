import type { FastifyRequest } from 'fastify'
import type { Aftermath } from './aftermath.ts'
import type { Clock } from './clock.ts'
import { KeyServerError } from './error.ts'
import type { Limits } from './limits.ts'
import type { Mailer } from './mailer.ts'
import type { Parts } from './parts.ts'
import type { Strangers } from './strangers.ts'

/** What the public routes are built from. */
export type Door = Parts & {
  readonly strangers: Strangers
  readonly limits: Limits
  readonly mailer: Mailer
  readonly aftermath: Aftermath
}

/**
 * The time, for a decision that depends on expiry. Throws `unavailable` while the clock is behind what was seen before: what looks living
 * may have expired.
 */
export function trustedTime(clock: Clock): number {
  const state = clock.state()
  if (state.kind !== 'behind') return clock.now()
  throw new KeyServerError('unavailable', { retryAfter: 60, cause: new Error(state.because) })
}

/** The two fields that every record has beside its kind. */
export function recordHead(clock: Clock, request: FastifyRequest): { readonly time: string; readonly request: string } {
  return { time: new Date(clock.now()).toISOString(), request: request.id }
}

export function rfc3339(time: number): string {
  return new Date(time).toISOString()
}
