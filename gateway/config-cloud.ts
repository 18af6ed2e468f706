import { isLoopback } from './address-range.ts'
import { type Reading, secretOf } from './config-reading.ts'
import type { CloudCredentials } from './oauth-cloud.ts'
import { readServiceAccount } from './oauth-service-account.ts'

/** The options by which either cloud is signed in to, as they stand in the file. */
export type CloudFile = {
  readonly tenant?: string
  readonly clientId?: string
  readonly clientSecret?: { readonly file: string }
  readonly authority?: string
  readonly serviceAccount?: { readonly file: string }
}

const AUTHORITY = 'https://login.microsoftonline.com'
const needed = { microsoft: ['tenant', 'clientId', 'clientSecret'], google: ['serviceAccount'] } as const
const foreign = { microsoft: ['serviceAccount'], google: ['tenant', 'clientId', 'clientSecret', 'authority'] } as const

/** Null with a fault in `reading`. `said` is how the file names the cloud. */
export function cloudOf(
  reading: Reading,
  cloud: 'microsoft' | 'google',
  file: CloudFile,
  scopes: readonly string[],
  { place, said }: { readonly place: string; readonly said: string },
): CloudCredentials | null {
  const { faults } = reading
  const missing = needed[cloud].filter((name) => file[name] === undefined)
  const wrong = foreign[cloud].filter((name) => file[name] !== undefined)
  if (missing.length > 0) faults.push(`${place}: with ${said}, ${missing.join(', ')} must be given`)
  if (wrong.length > 0) faults.push(`${place}: with ${said}, ${wrong.join(', ')} cannot be given`)
  if (cloud === 'google') return googleOf(reading, file, scopes, place)
  const clientSecret = secretOf(reading, file.clientSecret, `${place} > clientSecret`)
  const authority = originOf(reading, file.authority ?? AUTHORITY, `${place} > authority`)
  const { tenant, clientId } = file
  if (tenant === undefined || clientId === undefined || clientSecret === null) return null
  return { cloud, authority, tenant, clientId, clientSecret, scope: scopes.join(' ') }
}

function googleOf(
  reading: Reading,
  file: CloudFile,
  scopes: readonly string[],
  place: string,
): CloudCredentials | null {
  const text = secretOf(reading, file.serviceAccount, `${place} > serviceAccount`)
  if (text === null) return null
  const account = readServiceAccount(text)
  if (account === null) {
    reading.faults.push(`${place} > serviceAccount: expected the key file of a service account, JSON`)
    return null
  }
  originOf(reading, account.tokenUrl, `${place} > serviceAccount > token_uri`)
  return { cloud: 'google', ...account, scopes }
}

/** Secrets and mail go there: TLS, or this machine. */
export function originOf({ faults }: Reading, address: string, place: string): string {
  const { protocol, hostname } = new URL(address)
  if (protocol !== 'https:' && !isLoopback(hostname)) faults.push(`${place}: expected https, or a loopback address`)
  return address
}
