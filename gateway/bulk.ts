/** Asks for one thing. One call is in flight at a time: with none, a request leaves at once; what waits meanwhile shares the next. */
export type Bulk<Request, Result> = (request: Request) => Promise<Result>

export type BulkOptions<Request, Result> = {
  /** Answers item by item, in order, undefined where an answer is missing; a rejection is every item's. */
  readonly send: (items: readonly Encoded<Request>[]) => Promise<readonly (Result | undefined)[]>
  readonly encode: (request: Request) => string
  /**
   * Asked after each call: how long, at most, the next one waits for those whom this one served, milliseconds; 0 for not at all. Most are back with
   * their next request soon, and what they share costs little more than one. It leaves once as many wait as can be expected. After a call for one alone
   * nobody waits.
   */
  readonly patienceMs: () => number
  /** Items and characters of one call. */
  readonly most: { readonly items: number; readonly characters: number }
}

/** A request, and what it is on the wire. */
export type Encoded<Request> = { readonly request: Request; readonly body: string }

type Waiting<Request, Result> = Encoded<Request> & {
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

export function createBulk<Request, Result>(options: BulkOptions<Request, Result>): Bulk<Request, Result> {
  const waiting: Waiting<Request, Result>[] = []
  let running = false
  let arrived: (() => void) | null = null

  function next(): Waiting<Request, Result>[] {
    let characters = 0
    let count = 0
    for (const item of waiting) {
      characters += item.body.length
      if (count > 0 && (count === options.most.items || characters > options.most.characters)) break
      count += 1
    }
    return waiting.splice(0, count)
  }

  async function call(items: readonly Waiting<Request, Result>[]): Promise<void> {
    try {
      const results = await options.send(items)
      for (const [index, item] of items.entries()) {
        const result = results[index]
        if (result === undefined) item.reject(new Error('the answer has fewer items than the call'))
        else item.resolve(result)
      }
    } catch (error) {
      for (const item of items) item.reject(error)
    }
  }

  /** Until so many wait, or patience is at its end. */
  async function gather(count: number, patienceMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, patienceMs)
      arrived = () => {
        if (waiting.length < count) return
        clearTimeout(timer)
        resolve()
      }
    })
    arrived = null
  }

  async function run(): Promise<void> {
    running = true
    while (waiting.length > 0) {
      const items = next()
      await call(items)
      const expected = Math.min(items.length + waiting.length, options.most.items)
      const patienceMs = options.patienceMs()
      if (patienceMs > 0 && items.length > 1 && waiting.length < expected) await gather(expected, patienceMs)
    }
    running = false
  }

  return (request) =>
    new Promise((resolve, reject) => {
      waiting.push({ request, body: options.encode(request), resolve, reject })
      if (running) arrived?.()
      else void run()
    })
}
