/** Knows from the last results whether somebody can be reached, so that nobody waits for what cannot be. */
export type Breaker = {
  /** Somebody answered, whatever it was. */
  answered(): void
  /** Nobody did. */
  failed(): void
  isOpen(): boolean
  /** Whether to try: always while closed; while open once in a while, to find out. */
  allows(): boolean
}

export type BreakerOptions = {
  /** So many failures in a row open it. */
  readonly failures: number
  /** While it is open one try is allowed in this time, milliseconds. */
  readonly probeMs: number
  /** Told when somebody answers again after it was open. */
  readonly onClosed?: () => void
  readonly clock?: () => number
}

export function createBreaker(options: BreakerOptions): Breaker {
  const clock = options.clock ?? (() => performance.now())
  let failures = 0
  let probeAt = 0
  const isOpen = () => failures >= options.failures
  return {
    isOpen,
    answered() {
      const was = isOpen()
      failures = 0
      if (was) options.onClosed?.()
    },
    failed() {
      failures += 1
      if (failures === options.failures) probeAt = clock() + options.probeMs
    },
    allows() {
      if (!isOpen()) return true
      if (clock() < probeAt) return false
      probeAt = clock() + options.probeMs
      return true
    },
  }
}
