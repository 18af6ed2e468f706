/** Asks for one thing; what waits meanwhile shares a call. */
export type Bulk<Request, Result> = (request: Request) => Promise<Result>

export type BulkOptions<Request, Result> = {
  /** Answers item by item, in order, undefined where an answer is missing; a rejection is every item's. */
  readonly send: (items: readonly Encoded<Request>[]) => Promise<readonly (Result | undefined)[]>
  readonly encode: (request: Request) => string
  /** Calls in flight at a time. While fewer are, a request leaves at once: nobody ever waits for a timer. */
  readonly lanes: number
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
  let inFlight = 0

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

  async function run(): Promise<void> {
    inFlight += 1
    while (waiting.length > 0) {
      const items = next()
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
    inFlight -= 1
  }

  return (request) =>
    new Promise((resolve, reject) => {
      waiting.push({ request, body: options.encode(request), resolve, reject })
      if (inFlight < options.lanes) void run()
    })
}
