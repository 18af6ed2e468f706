import type { FastifyBaseLogger } from 'fastify'

/** Work that comes again and again. */
export interface Rounds {
  /** Does `act` every `ms` milliseconds, never twice at once; what it throws is logged. */
  every(ms: number, name: string, act: () => Promise<void>): void
  /** Why the last round of this name failed, null if it did not. */
  failure(name: string): string | null
  /** No round begins any more; resolves when those under way are done. */
  stop(): Promise<void>
}

export function createRounds(log: FastifyBaseLogger): Rounds {
  const timers: NodeJS.Timeout[] = []
  const running = new Map<string, Promise<void>>()
  const failures = new Map<string, string>()

  async function round(name: string, act: () => Promise<void>): Promise<void> {
    try {
      await act()
      if (failures.delete(name)) log.info({ round: name }, 'works again')
    } catch (cause) {
      const because = cause instanceof Error ? cause.message : String(cause)
      // Said once and not each second: a full disk must not fill up with words about it.
      if (failures.get(name) !== because) log.error({ round: name, err: cause }, 'a round failed')
      failures.set(name, because)
    } finally {
      running.delete(name)
    }
  }
  return {
    every: (ms, name, act) => {
      const timer = setInterval(() => {
        if (!running.has(name)) running.set(name, round(name, act))
      }, ms)
      timers.push(timer.unref())
    },
    failure: (name) => failures.get(name) ?? null,
    stop: async () => {
      for (const timer of timers) clearInterval(timer)
      await Promise.all(running.values())
    },
  }
}
