import { type ClientCertificate, createClientAssertions } from './client-assertion.ts'
import { createTokenSource, type TokenSource } from './oauth-token.ts'

export type ClientCredentials = {
  /** Of the sign-in service, without a slash at its end: https://login.microsoftonline.com */
  readonly authority: string
  /** The directory (tenant): its id or one of its domains. */
  readonly tenant: string
  readonly clientId: string
  /** Such as https://graph.microsoft.com/.default */
  readonly scope: string
} & ({ readonly clientSecret: string } | { readonly clientCertificate: ClientCertificate })

/** RFC 7523 2.2. */
const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/**
 * Tokens of a Microsoft Entra application that acts for itself (RFC 6749 4.4), and proves itself by a secret or a certificate: one token for all
 * mailboxes of the directory.
 */
export function createClientCredentialsTokens(credentials: ClientCredentials): TokenSource {
  const { authority, tenant, clientId, scope } = credentials
  const url = `${authority}/${encodeURIComponent(tenant)}/oauth2/v2.0/token`
  const proof = proofOf(credentials, url)
  return createTokenSource({
    ...{ url, per: 'directory' },
    form: async () => ({ grant_type: 'client_credentials', client_id: clientId, scope, ...proof() }),
  })
}

/** Makes the fields of the form that prove the application. */
function proofOf(credentials: ClientCredentials, url: string): () => Readonly<Record<string, string>> {
  if ('clientSecret' in credentials) return () => ({ client_secret: credentials.clientSecret })
  const assert = createClientAssertions(credentials.clientCertificate, credentials.clientId, url)
  return () => ({ client_assertion_type: JWT_BEARER, client_assertion: assert() })
}
