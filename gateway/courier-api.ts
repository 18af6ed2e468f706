import type { ApiConfig } from './config-api.ts'
import type { Courier } from './courier.ts'
import { createCloudTokens } from './oauth-cloud.ts'

/**
 * The courier of an organization whose provider takes mail by an API. Its library is loaded only here: who needs none pays for none. `otherwise`
 * takes what cannot go by its header.
 */
export async function createApiCourier(api: ApiConfig, otherwise: Courier, budgetMs: number): Promise<Courier> {
  const { endpoint, mailboxes, credentials } = api
  const options = { endpoint, mailboxes, otherwise, budgetMs, tokens: createCloudTokens(credentials) }
  if (api.provider === 'graph') {
    const { createGraphCourier } = await import('./courier-graph.ts')
    return createGraphCourier(options)
  }
  const { createGmailCourier } = await import('./courier-gmail.ts')
  return createGmailCourier(options)
}
