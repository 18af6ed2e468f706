import { type Address, parseAddress } from '../protocol/identifiers.ts'
import { cloudOf, originOf } from './config-cloud.ts'
import type { Reading } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'
import type { CloudCredentials } from './oauth-cloud.ts'

/** A provider's API that takes mail in place of the SMTP next hop, where it can. */
export type ApiConfig = {
  readonly provider: 'graph' | 'gmail'
  /** Without a slash at its end. */
  readonly endpoint: string
  /** Null: every sender of the organization. */
  readonly mailboxes: ReadonlySet<Address> | null
  readonly credentials: CloudCredentials
}

type ApiFile = NonNullable<ConfigFile['organizations'][string]['api']>

const ENDPOINTS = { graph: 'https://graph.microsoft.com', gmail: 'https://gmail.googleapis.com' } as const

/** Null where none is configured, or with a fault in `reading`. */
export function apiOf(reading: Reading, api: ApiFile | undefined, place: string): ApiConfig | null {
  if (api === undefined) return null
  const { provider } = api
  const endpoint = originOf(reading, api.endpoint ?? ENDPOINTS[provider], `${place} > endpoint`)
  const mailboxes = mailboxesOf(reading, api.mailboxes, `${place} > mailboxes`)
  const cloud = provider === 'graph' ? 'microsoft' : 'google'
  const scopes = provider === 'graph' ? [`${endpoint}/.default`] : GMAIL_SCOPES
  const credentials = cloudOf(reading, cloud, api, scopes, { place, said: `provider ${provider}` })
  return credentials === null ? null : { provider, endpoint, mailboxes, credentials }
}

/** To send, and to see whether an earlier attempt was sent. */
const GMAIL_SCOPES = ['https://www.googleapis.com/auth/gmail.send', 'https://www.googleapis.com/auth/gmail.readonly']

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
