/** So many at a time for each key; the others wait in order. */
export type Turns = {
  /** A function that ends the turn, or null if the signal ended the wait first. */
  take(key: string, signal: AbortSignal): Promise<(() => void) | null>
}

export function createTurns(limit: number): Turns {
  const waiting = new Map<string, Set<() => void>>()
  const taken = new Map<string, number>()

  const endOf = (key: string) => () => {
    const [next] = waiting.get(key) ?? []
    if (next !== undefined) return next()
    const left = (taken.get(key) ?? 1) - 1
    if (left === 0) taken.delete(key)
    else taken.set(key, left)
  }

  return {
    async take(key, signal) {
      if (signal.aborted) return null
      const now = taken.get(key) ?? 0
      if (now < limit) {
        taken.set(key, now + 1)
        return endOf(key)
      }
      const queue = waiting.get(key) ?? new Set()
      waiting.set(key, queue)
      return new Promise((resolve) => {
        const leave = () => {
          queue.delete(begin)
          if (queue.size === 0) waiting.delete(key)
          signal.removeEventListener('abort', giveUp)
        }
        const begin = () => {
          leave()
          resolve(endOf(key))
        }
        const giveUp = () => {
          leave()
          resolve(null)
        }
        queue.add(begin)
        signal.addEventListener('abort', giveUp, { once: true })
      })
    },
  }
}
