import { createPrivateKey } from 'node:crypto'
import { loadTlsFiles } from '../protocol/tls-files.ts'
import { isLoopback } from './address-range.ts'
import type { ClientCertificate } from './client-assertion.ts'
import { type Reading, secretOf } from './config-reading.ts'
import type { CloudCredentials } from './oauth-cloud.ts'
import { readServiceAccount } from './oauth-service-account.ts'

/** The options by which either cloud is signed in to, as they stand in the file. */
export type CloudFile = {
  readonly tenant?: string
  readonly clientId?: string
  readonly clientSecret?: { readonly file: string }
  readonly clientCertificate?: { readonly cert: string; readonly key: string }
  readonly authority?: string
  readonly serviceAccount?: { readonly file: string }
}

const AUTHORITY = 'https://login.microsoftonline.com'
const needed = { microsoft: ['tenant', 'clientId'], google: ['serviceAccount'] } as const
const foreign = {
  microsoft: ['serviceAccount'],
  google: ['tenant', 'clientId', 'clientSecret', 'clientCertificate', 'authority'],
} as const

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
  const proofs = [file.clientSecret, file.clientCertificate].filter((proof) => proof !== undefined)
  if (proofs.length !== 1) faults.push(`${place}: with ${said}, either clientSecret or clientCertificate must be given`)
  const clientSecret = secretOf(reading, file.clientSecret, `${place} > clientSecret`)
  const clientCertificate = certificateOf(reading, file.clientCertificate, `${place} > clientCertificate`)
  const authority = originOf(reading, file.authority ?? AUTHORITY, `${place} > authority`)
  const { tenant, clientId } = file
  if (tenant === undefined || clientId === undefined) return null
  const application = { cloud, authority, tenant, clientId, scope: scopes.join(' ') } as const
  if (clientSecret !== null) return { ...application, clientSecret }
  return clientCertificate === null ? null : { ...application, clientCertificate }
}

/** What Microsoft Entra takes: RSA of 2,048 bits and more. Null where there is none, or with a fault. */
function certificateOf(
  { at, faults, now }: Reading,
  file: CloudFile['clientCertificate'],
  place: string,
): ClientCertificate | null {
  if (file === undefined) return null
  const load = loadTlsFiles({ cert: at(file.cert), key: at(file.key) }, now)
  if (load.kind === 'faults') {
    faults.push(...load.faults.map((fault) => `${place}: ${fault}`))
    return null
  }
  const { cert, key } = load.files
  const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(key)
  if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048) return { cert, key }
  faults.push(`${place}: expected an RSA key of 2048 bits or more, the only kind that Microsoft takes`)
  return null
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
