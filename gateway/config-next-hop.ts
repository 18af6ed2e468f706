import { loadTlsFiles } from '../protocol/tls-files.ts'
import { cloudOf } from './config-cloud.ts'
import { publicOf, type Reading, secretOf } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'
import type { SmtpCourierOptions } from './courier-smtp.ts'
import { type DnsServer, dnsServerOf } from './dns-server.ts'
import { createCloudTokens } from './oauth-cloud.ts'
import type { SmtpAuth } from './smtp-auth.ts'
import type { OwnCertificate, TlsPolicy } from './tls-policy.ts'

/** Where an organization's mail goes on: to one server, or to the mail exchangers of each recipient's domain. */
export type NextHopConfig =
  | ({ readonly kind: 'relay'; readonly connections: number } & SmtpCourierOptions)
  | ({ readonly kind: 'mx' } & MxConfig)

export type MxConfig = {
  readonly port: number
  /** Said in EHLO. */
  readonly helo: string
  /** Domains delivered to at the same time. */
  readonly connections: number
  /** Recursive name servers; null: the system's. */
  readonly resolver: readonly DnsServer[] | null
  /** Those servers validate DNSSEC, and the way to them is trusted. */
  readonly validating: boolean
  /** Authorities for MTA-STS, PEM; null: the system's. */
  readonly ca: string | null
  /** Addresses of this machine may be gone to. */
  readonly here: boolean
}

type NextHopFile = Exclude<ConfigFile['organizations'][string]['nextHop'], 'mx'>

/** Faults are noted in `reading`. */
export function nextHopOf(reading: Reading, given: NextHopFile | 'mx', place: string): NextHopConfig {
  const hop = given === 'mx' ? { mx: {} } : given
  if (hop.mx !== undefined) return mxOf(reading, hop, hop.mx, place)
  for (const name of ['host', 'port'] as const) {
    if (hop[name] === undefined) reading.faults.push(`${place}: ${name} is missing`)
  }
  return {
    kind: 'relay',
    host: hop.host ?? '',
    port: hop.port ?? 0,
    helo: reading.file.name,
    implicitTls: hop.implicitTls ?? false,
    connections: hop.connections ?? 20,
    ...tlsPolicyOf(reading, hop, place),
    ...authOf(reading, hop, place),
  }
}

/** What a relay needs and mail exchangers do not. */
const RELAY_ONLY = ['host', 'port', 'tls', 'implicitTls', 'user', 'password', 'oauth', 'microsoft', 'signs'] as const

function mxOf(reading: Reading, hop: NextHopFile, mx: NonNullable<NextHopFile['mx']>, place: string): NextHopConfig {
  const { faults, file } = reading
  const foreign = RELAY_ONLY.filter((name) => hop[name] !== undefined)
  if (foreign.length > 0)
    faults.push(`${place}: with mx, ${foreign.join(', ')} cannot be given: each domain says where its mail goes`)
  const servers = mx.resolver?.map((text) => {
    const server = dnsServerOf(text)
    if (server === null)
      faults.push(`${place} > mx > resolver: ${text} is no address such as 192.0.2.53 or 127.0.0.1:5353`)
    return server
  })
  const validating = mx.dnssec === 'trusted-resolver'
  if (validating && servers === undefined) {
    faults.push(
      `${place} > mx > dnssec: name the servers that validate as resolver; what a network hands out is not trusted`,
    )
  }
  return {
    kind: 'mx',
    port: mx.port ?? 25,
    helo: file.name,
    connections: hop.connections ?? 50,
    resolver: servers?.filter((server) => server !== null) ?? null,
    validating,
    ca: mx.ca === undefined ? null : publicOf(reading, mx.ca, `${place} > mx > ca`),
    here: mx.thisMachine ?? false,
  }
}

/** What tokens are for at the clouds' SMTP servers. */
const SMTP_SCOPES = { microsoft: 'https://outlook.office365.com/.default', google: 'https://mail.google.com/' } as const

function authOf(reading: Reading, { user, password, oauth }: NextHopFile, place: string): { auth?: SmtpAuth } {
  const ways = [password, oauth].filter((way) => way !== undefined).length
  if (ways !== (user === undefined ? 0 : 1)) reading.faults.push(`${place}: user goes together with password or oauth`)
  const secret = secretOf(reading, password, `${place} > password`)
  if (user === undefined) return {}
  if (secret !== null) return { auth: { user, password: secret } }
  if (oauth === undefined) return {}
  const at = { place: `${place} > oauth`, said: `cloud ${oauth.cloud}` }
  const credentials = cloudOf(reading, oauth.cloud, oauth, [SMTP_SCOPES[oauth.cloud]], at)
  return credentials === null ? {} : { auth: { user, tokens: createCloudTokens(credentials) } }
}

function tlsPolicyOf(reading: Reading, hop: NextHopFile, place: string): { tls?: TlsPolicy } {
  const { tls } = hop
  if (tls === undefined) return {}
  const name = tls.name === undefined ? {} : { name: tls.name }
  const own = ownCertificateOf(reading, tls, `${place} > tls`)
  if (tls.mode === 'verify') {
    const ca = tls.ca === undefined ? {} : { ca: [publicOf(reading, tls.ca, `${place} > tls > ca`)] }
    return { tls: { mode: 'verify', ...name, ...ca, ...own } }
  }
  if (tls.mode === 'none') return { tls: { mode: 'none' } }
  if (tls.mode === 'opportunistic') return { tls: { mode: 'opportunistic', ...own } }
  if (tls.pins === undefined) reading.faults.push(`${place} > tls: with mode pin, pins are needed`)
  return { tls: { mode: 'pin', spki: tls.pins ?? [], ...name, ...own } }
}

/** What is shown to a next hop that asks for a certificate. */
function ownCertificateOf(
  { at, faults, now }: Reading,
  { mode, certificate, key }: NonNullable<NextHopFile['tls']>,
  place: string,
): { own?: OwnCertificate } {
  if (certificate === undefined && key === undefined) return {}
  if (certificate === undefined || key === undefined) {
    faults.push(`${place}: certificate and key go together`)
    return {}
  }
  if (mode === 'none') faults.push(`${place}: with mode none there is no TLS to show a certificate in; remove it`)
  const load = loadTlsFiles({ cert: at(certificate), key: at(key) }, now)
  if (load.kind === 'loaded') return { own: { cert: load.files.cert, key: load.files.key } }
  faults.push(...load.faults.map((fault) => `${place}: ${fault}`))
  return {}
}
