import { EnvelopeError } from './fault.ts'

/** Octets that arrive in pieces of any size and are taken in lengths that the format asks for. */
export type OctetQueue = {
  /** Waits for one more piece that is not empty; false at the end of the source. */
  readonly fill: () => Promise<boolean>
  /** Nothing is waiting and nothing will come. */
  readonly ended: () => Promise<boolean>
  /** What is waiting, at most `limit` octets of it; nothing is taken. */
  readonly peek: (limit: number) => Uint8Array
  /** Exactly `count` octets, a copy of their own. Throws `truncated` if the source ends before. */
  readonly take: (count: number) => Promise<Uint8Array<ArrayBuffer>>
  /** Octets taken so far. */
  readonly taken: () => number
}

/** A queue that reads from `source` only what is asked for. */
export function createOctetQueue(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): OctetQueue {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  let pieces: Uint8Array[] = []
  let waiting = 0
  let taken = 0

  async function pull(): Promise<boolean> {
    for (;;) {
      const next = await iterator.next()
      if (next.done === true) return false
      if (next.value.length === 0) continue
      pieces.push(next.value)
      waiting += next.value.length
      return true
    }
  }

  function copy(count: number): Uint8Array<ArrayBuffer> {
    const octets = new Uint8Array(count)
    let at = 0
    for (const piece of pieces) {
      if (at === count) break
      const part = piece.subarray(0, count - at)
      octets.set(part, at)
      at += part.length
    }
    return octets
  }

  function drop(count: number): void {
    let left = count
    let whole = 0
    while (whole < pieces.length && left >= (pieces[whole]?.length ?? 0)) left -= pieces[whole++]?.length ?? 0
    pieces = pieces.slice(whole)
    const [head] = pieces
    if (left > 0 && head !== undefined) pieces[0] = head.subarray(left)
    waiting -= count
    taken += count
  }

  return {
    fill: pull,
    ended: async () => waiting === 0 && !(await pull()),
    peek: (limit) => copy(Math.min(limit, waiting)),
    async take(count) {
      while (waiting < count)
        if (!(await pull())) throw new EnvelopeError('truncated', `${count - waiting} octets missing`)
      const octets = copy(count)
      drop(count)
      return octets
    },
    taken: () => taken,
  }
}
