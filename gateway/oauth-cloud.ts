import { type ClientCredentials, createClientCredentialsTokens } from './oauth-client-credentials.ts'
import { createServiceAccountTokens, type ServiceAccountOptions } from './oauth-service-account.ts'
import type { TokenSource } from './oauth-token.ts'

/** What lets us into one of the clouds, and for what. */
export type CloudCredentials =
  | ({ readonly cloud: 'microsoft' } & ClientCredentials)
  | ({ readonly cloud: 'google' } & ServiceAccountOptions)

export function createCloudTokens(credentials: CloudCredentials): TokenSource {
  return credentials.cloud === 'microsoft'
    ? createClientCredentialsTokens(credentials)
    : createServiceAccountTokens(credentials)
}
