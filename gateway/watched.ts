import type { Breaker } from './breaker.ts'
import type { Courier } from './courier.ts'
import type { MtlsClient } from './mtls-client.ts'

/** The courier, with its breaker told whether the next hop said anything at all. */
export function watchCourier(courier: Courier, breaker: Breaker): Courier {
  return {
    ...courier,
    async deliver(delivery) {
      const report = await courier.deliver(delivery)
      const unheard = report.results.every(
        ({ outcome, remote }) => !remote && outcome !== 'failed' && outcome !== 'sent',
      )
      // Who gave up did not wait to hear.
      if (!unheard) breaker.answered()
      else if (delivery.signal?.aborted !== true) breaker.failed()
      return report
    },
  }
}

/** The client, with its breaker told whether the other side answers and works. */
export function watchClient(client: MtlsClient, breaker: Breaker): MtlsClient {
  return {
    ...client,
    async call(...call) {
      try {
        const answer = await client.call(...call)
        if (answer.status < 500) breaker.answered()
        else breaker.failed()
        return answer
      } catch (error) {
        breaker.failed()
        throw error
      }
    },
  }
}
