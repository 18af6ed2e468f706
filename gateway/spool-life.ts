import type { Live } from './spool-index.ts'

/** At most; milliseconds. */
const CHANCE_MS = 3_600_000
/** The look at the spool is due every second: more between two of them is a machine that stood still, or a clock that was set. */
const GAP_MS = 300_000

/**
 * Gives mail a chance, from `now` on, before its life is over, and lets it be tried at once: after a start, when its time may have passed while nobody
 * could try, and with as little reason to trust the clock of before.
 */
export function giveChance(one: Live, now: number, lifeMs: number): void {
  one.endsAt = Math.max(one.endsAt, now + Math.min(lifeMs, CHANCE_MS))
  one.state = { ...one.state, nextAt: Math.min(one.state.nextAt, now) }
}

/** Whether the time between two looks is not that between two looks. */
export function isGap(last: number, now: number): boolean {
  return Math.abs(now - last) > GAP_MS
}
