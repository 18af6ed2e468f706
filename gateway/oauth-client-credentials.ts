import { createTokenSource, type TokenSource } from './oauth-token.ts'

export type ClientCredentials = {
  /** Of the sign-in service, without a slash at its end: https://login.microsoftonline.com */
  readonly authority: string
  /** The directory (tenant): its id or one of its domains. */
  readonly tenant: string
  readonly clientId: string
  readonly clientSecret: string
  /** Such as https://graph.microsoft.com/.default */
  readonly scope: string
}

/** Tokens of a Microsoft Entra application that acts for itself (RFC 6749 4.4): one for all mailboxes of the directory. */
export function createClientCredentialsTokens(credentials: ClientCredentials): TokenSource {
  const { authority, tenant, clientId, clientSecret, scope } = credentials
  return createTokenSource({
    url: `${authority}/${encodeURIComponent(tenant)}/oauth2/v2.0/token`,
    per: 'directory',
    form: async () => ({
      grant_type: 'client_credentials',
      client_id: clientId,
      client_secret: clientSecret,
      scope,
    }),
  })
}
