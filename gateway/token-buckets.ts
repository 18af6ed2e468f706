/** How much of something each of many keys may use, in bounded memory: a bucket a key, filled again evenly. */
export type TokenBuckets = {
  /** Whether `amount` may be taken now. More than a bucket holds counts as a full bucket, so that nothing is impossible for ever. */
  has(key: string, amount: number): boolean
  /** Takes `amount`, into debt if need be: what was used is used. */
  take(key: string, amount: number): void
  /** Keys that are remembered. */
  size(): number
}

export type TokenBucketsOptions = {
  /** A minute's worth, which is also what a full bucket holds. */
  readonly perMinute: number
  /** More keys than that are not remembered: who was seen longest ago is forgotten, and finds a full bucket. */
  readonly capacity: number
  /** Milliseconds of a clock that only goes forward. */
  readonly clock: () => number
}

type Bucket = { tokens: number; at: number }

export function createTokenBuckets({ perMinute, capacity, clock }: TokenBucketsOptions): TokenBuckets {
  const buckets = new Map<string, Bucket>()

  function tokensOf(key: string): number {
    const bucket = buckets.get(key)
    if (bucket === undefined) return perMinute
    return Math.min(perMinute, bucket.tokens + ((clock() - bucket.at) * perMinute) / 60_000)
  }

  return {
    has: (key, amount) => tokensOf(key) >= Math.min(amount, perMinute),
    take(key, amount) {
      const tokens = tokensOf(key) - amount
      // Set anew, so that the map stays in the order of use.
      buckets.delete(key)
      buckets.set(key, { tokens, at: clock() })
      if (buckets.size <= capacity) return
      const [oldest] = buckets.keys()
      if (oldest !== undefined) buckets.delete(oldest)
    },
    size: () => buckets.size,
  }
}
