/** Which gateways share the key server just now. */
export type Crowd = {
  /** One of them calls at `now`, in milliseconds of any clock that does not jump. Whether another one did a moment ago. */
  calls(instance: string, now: number): boolean
}

/** Milliseconds for which a call counts. */
const MOMENT = 100

export function createCrowd(): Crowd {
  const last = new Map<string, number>()
  return {
    calls(instance, now) {
      for (const [other, at] of last) if (now - at > MOMENT) last.delete(other)
      last.set(instance, now)
      return last.size > 1
    },
  }
}
