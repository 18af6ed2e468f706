import { GreetingFault } from './smtp-client.ts'

/** Keeps a sign-in that a next hop refuses from being repeated with every mail: providers lock accounts for that, for longer than the mistake takes to mend. */
export type SignInPause = {
  /** The refusal, as long as it is to be taken for the answer; else null. */
  fault(): GreetingFault | null
  /** Told how every greeting ended; null: well. */
  ended(error: unknown): void
}

/** Milliseconds after the first refusal; twice as long after each further one, */
const FIRST = 1_000
/** up to this. */
const MOST = 60_000

export function createSignInPause(clock: () => number = () => performance.now()): SignInPause {
  let refused: GreetingFault | null = null
  let refusals = 0
  let until = 0
  const fault = () => (clock() < until ? refused : null)
  return {
    fault,
    ended(error) {
      if (error === null) {
        refusals = 0
        until = 0
        return
      }
      // RFC 4954 6: 5yz is about the sign-in itself. Of several that were under way one counts.
      if (!(error instanceof GreetingFault) || error.enhanced !== '4.7.8' || (error.reply?.code ?? 0) < 500) return
      if (fault() !== null) return
      refused = error
      until = clock() + Math.min(MOST, FIRST * 2 ** Math.min(refusals++, 10))
    },
  }
}
