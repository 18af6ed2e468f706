import { randomInt } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'

/** Work that is done when the answer has left, so that its time says nothing to whoever asked. */
export interface Aftermath {
  /** Does `work` a little later, at a moment that nobody can foretell. False, and nothing is done, where too much waits already. */
  later(work: () => Promise<void>): boolean
  /** Resolves when all that waits is done. */
  settle(): Promise<void>
}

const CAPACITY = 2_000
const EARLIEST_MS = 10
const LATEST_MS = 110

export function createAftermath(log: FastifyBaseLogger): Aftermath {
  const pending = new Set<Promise<void>>()

  async function run(work: () => Promise<void>): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, randomInt(EARLIEST_MS, LATEST_MS)))
    try {
      await work()
    } catch (cause) {
      log.error({ err: cause }, 'what was to follow an answer failed')
    }
  }
  return {
    later(work) {
      if (pending.size >= CAPACITY) return false
      const running = run(work).finally(() => pending.delete(running))
      pending.add(running)
      return true
    },
    async settle() {
      await Promise.all(pending)
    },
  }
}
