import type { ApiConfig } from './config-api.ts'
import type { Courier } from './courier.ts'

/**
 * The courier of an organization whose provider takes mail by an API. Its library is loaded only here: who needs none pays for none. `otherwise`
 * takes what cannot go by its header.
 */
export async function createApiCourier(api: ApiConfig, otherwise: Courier, budgetMs: number): Promise<Courier> {
  const { endpoint, mailboxes } = api
  const shared = { endpoint, mailboxes, otherwise, budgetMs }
  if (api.provider === 'graph') {
    const [{ createGraphCourier }, { createClientCredentialsTokens }] = await Promise.all([
      import('./courier-graph.ts'),
      import('./oauth-client-credentials.ts'),
    ])
    return createGraphCourier({ ...shared, tokens: createClientCredentialsTokens(api.credentials) })
  }
  const [{ createGmailCourier }, { createServiceAccountTokens }] = await Promise.all([
    import('./courier-gmail.ts'),
    import('./oauth-service-account.ts'),
  ])
  const tokens = createServiceAccountTokens({ ...api.account, tokenUrl: api.tokenUrl, scopes: GMAIL_SCOPES })
  return createGmailCourier({ ...shared, tokens })
}

/** To send, and to see whether an earlier attempt was sent. */
const GMAIL_SCOPES = ['https://www.googleapis.com/auth/gmail.send', 'https://www.googleapis.com/auth/gmail.readonly']
