import { setTimeout as sleep } from 'node:timers/promises'
import type { OutcomeRequest } from '../protocol/gateway-api.ts'
import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'

export type OutcomeKeeperOptions = {
  /** Said with every confirm: a delivery, its outcome included, takes no longer while the key server answers. */
  readonly leaseSeconds: number
  /** Pause between two tries to report what is left, milliseconds. */
  readonly everyMs: number
  readonly log: Log
}

/** Long enough for any outage that somebody looks after; then the client has most likely given up trying too. */
const KEPT_FOR = 12 * 3_600_000
const LAST_TRIES = 4

/**
 * A key server that hears of every outcome in the end. What it could not be told is kept in memory and told again until it is recorded, and
 * always before this gateway asks to issue again: otherwise a key server that dies between a delivery and its outcome would have the
 * message delivered a second time, although this gateway knows better. Whoever reported is told of the failure all the same.
 *
 * There are no more outcomes to keep than deliveries were under way: without the key server no other is begun.
 */
export function keepOutcomes(
  keyServer: KeyServer,
  { leaseSeconds, everyMs, log }: OutcomeKeeperOptions,
): KeyServer & { close(): Promise<void> } {
  const kept = new Map<OutcomeRequest, number>()
  let telling: Promise<void> | null = null
  let repeating = false
  let closed = false

  async function tell(): Promise<void> {
    const before = performance.now() - KEPT_FOR
    const told = [...kept].map(async ([request, since]) => {
      await keyServer.outcome(request)
      kept.delete(request)
      const ms = Math.round(performance.now() - since)
      log.info('an outcome was recorded late', { envelope: request.id, outcome: request.outcome, ms })
    })
    await Promise.allSettled(told)
    for (const [request, since] of kept) if (since < before) kept.delete(request)
  }
  function tellOnce(): Promise<void> {
    telling ??= tell().finally(() => {
      telling = null
    })
    return telling
  }
  async function repeat(): Promise<void> {
    if (repeating) return
    repeating = true
    while (kept.size > 0 && !closed) {
      await sleep(everyMs, undefined, { ref: false })
      await tellOnce()
    }
    repeating = false
  }

  return {
    ...keyServer,
    async issue(request) {
      if (kept.size > 0) await tellOnce()
      return keyServer.issue(request)
    },
    confirm: (request) => keyServer.confirm({ ...request, leaseSeconds }),
    async outcome(request) {
      try {
        return await keyServer.outcome(request)
      } catch (error) {
        kept.set(request, performance.now())
        void repeat()
        throw error
      }
    },
    /** A few last tries; what cannot be told then stays unknown to the key server. */
    async close() {
      closed = true
      for (let tries = 1; kept.size > 0 && tries <= LAST_TRIES; tries++) {
        await tellOnce()
        if (kept.size > 0 && tries < LAST_TRIES) await sleep(everyMs)
      }
      if (kept.size > 0) log.error('outcomes could not be reported before the end', { count: kept.size })
    },
  }
}
