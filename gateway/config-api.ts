import { type Address, parseAddress } from '../protocol/identifiers.ts'
import { isLoopback } from './address-range.ts'
import { type Reading, secretOf } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'
import type { ClientCredentials } from './oauth-client-credentials.ts'
import { readServiceAccount, type ServiceAccount } from './oauth-service-account.ts'

/** A provider's API that takes mail in place of the SMTP next hop, where it can. */
export type ApiConfig = {
  /** Without a slash at its end. */
  readonly endpoint: string
  /** Null: every sender of the organization. */
  readonly mailboxes: ReadonlySet<Address> | null
} & (
  | { readonly provider: 'graph'; readonly credentials: ClientCredentials }
  | { readonly provider: 'gmail'; readonly account: ServiceAccount; readonly tokenUrl: string }
)

type ApiFile = NonNullable<ConfigFile['organizations'][string]['api']>

const ENDPOINTS = { graph: 'https://graph.microsoft.com', gmail: 'https://gmail.googleapis.com' } as const
const AUTHORITY = 'https://login.microsoftonline.com'

/** Null where none is configured, or with a fault in `reading`. */
export function apiOf(reading: Reading, api: ApiFile | undefined, place: string): ApiConfig | null {
  if (api === undefined) return null
  const { faults } = reading
  const endpoint = originOf(reading, api.endpoint ?? ENDPOINTS[api.provider], `${place} > endpoint`)
  const mailboxes = mailboxesOf(reading, api.mailboxes, `${place} > mailboxes`)
  const wanted = api.provider === 'graph' ? graphOptions : gmailOptions
  const missing = wanted.filter((name) => api[name] === undefined)
  const foreign = [...graphOptions, ...gmailOptions, 'authority' as const].filter((name) => {
    return api[name] !== undefined && !wanted.includes(name) && !(name === 'authority' && api.provider === 'graph')
  })
  if (missing.length > 0) faults.push(`${place}: with provider ${api.provider}, ${missing.join(', ')} must be given`)
  if (foreign.length > 0) faults.push(`${place}: with provider ${api.provider}, ${foreign.join(', ')} cannot be given`)
  if (api.provider === 'graph') {
    const clientSecret = secretOf(reading, api.clientSecret, `${place} > clientSecret`) ?? ''
    const authority = originOf(reading, api.authority ?? AUTHORITY, `${place} > authority`)
    const { tenant = '', clientId = '' } = api
    const credentials = { authority, tenant, clientId, clientSecret, scope: `${endpoint}/.default` }
    return { provider: 'graph', endpoint, mailboxes, credentials }
  }
  const text = secretOf(reading, api.serviceAccount, `${place} > serviceAccount`)
  const account = text === null ? null : readServiceAccount(text)
  if (account === null) {
    if (text !== null) faults.push(`${place} > serviceAccount: expected the key file of a service account, JSON`)
    return null
  }
  const { tokenUrl, ...rest } = account
  originOf(reading, new URL(tokenUrl).origin, `${place} > serviceAccount > token_uri`)
  return { provider: 'gmail', endpoint, mailboxes, account: rest, tokenUrl }
}

const graphOptions: readonly (keyof ApiFile)[] = ['tenant', 'clientId', 'clientSecret']
const gmailOptions: readonly (keyof ApiFile)[] = ['serviceAccount']

/** Secrets and mail go there: TLS, or this machine. */
function originOf({ faults }: Reading, origin: string, place: string): string {
  const { protocol, hostname } = new URL(origin)
  if (protocol !== 'https:' && !isLoopback(hostname)) faults.push(`${place}: expected https, or a loopback address`)
  return origin
}

function mailboxesOf(
  { faults }: Reading,
  listed: readonly string[] | undefined,
  place: string,
): ReadonlySet<Address> | null {
  if (listed === undefined) return null
  const mailboxes = new Set<Address>()
  for (const text of listed) {
    const address = parseAddress(text)
    if (address === null) faults.push(`${place}: ${text} is no address`)
    else mailboxes.add(address)
  }
  return mailboxes
}
