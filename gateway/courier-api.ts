import type { OrgId } from '../protocol/identifiers.ts'
import type { ApiConfig } from './config-api.ts'
import type { Courier } from './courier.ts'
import type { ApiCourierOptions } from './courier-by-header.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { createCloudTokens } from './oauth-cloud.ts'

export type ApiCourierParts = {
  /** Takes what cannot go by its header. */
  readonly otherwise: Courier
  readonly budgetMs: number
  readonly org: OrgId
  readonly metrics: Pick<Metrics, 'way'>
  readonly log: Log
}

/**
 * The courier of an organization whose provider takes mail by an API. Its library is loaded only here: who needs none pays for none. Which way
 * a mail goes is counted, and logged where it is not the API.
 */
export async function createApiCourier(api: ApiConfig, parts: ApiCourierParts): Promise<Courier> {
  const { provider, endpoint, mailboxes, credentials } = api
  const { otherwise, budgetMs, org, metrics, log } = parts
  const options: ApiCourierOptions = {
    ...{ endpoint, mailboxes, otherwise, budgetMs, tokens: createCloudTokens(credentials) },
    onWay({ envelope }, because) {
      metrics.way(because === null ? provider : 'smtp')
      if (because === null) return
      const fields = { org, reason: because, ...(envelope ? { envelope } : {}) }
      log.info("a mail goes by SMTP, not by the provider's API", fields)
    },
  }
  if (provider === 'graph') {
    const { createGraphCourier } = await import('./courier-graph.ts')
    return createGraphCourier(options)
  }
  const { createGmailCourier } = await import('./courier-gmail.ts')
  return createGmailCourier(options)
}
