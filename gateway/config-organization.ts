import type { OrgId } from '../protocol/identifiers.ts'
import { loadTlsFiles } from '../protocol/tls-files.ts'
import type { OrganizationConfig } from './config.ts'
import { apiOf } from './config-api.ts'
import { cloudOf } from './config-cloud.ts'
import { publicOf, type Reading, secretOf } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'
import { dkimOf } from './dkim-config.ts'
import { createCloudTokens } from './oauth-cloud.ts'
import type { SmtpAuth } from './smtp-auth.ts'
import type { OwnCertificate, TlsPolicy } from './tls-policy.ts'

/** One organization, with its next hop; faults are noted in `reading`. */
export function organizationOf(
  reading: Reading,
  id: string,
  org: ConfigFile['organizations'][string],
): OrganizationConfig {
  const { faults } = reading
  const place = `organizations > ${id}`
  const hop = org.nextHop
  const [loopSecret = null, otherLoopSecret = null] = loopSecretsOf(reading, org.loopSecret, `${place} > loopSecret`)
  const traceKey = secretOf(reading, org.traceKey, `${place} > traceKey`)
  if (traceKey !== null && traceKey.length < 32) {
    faults.push(`${place} > traceKey: expected 32 characters or more; make one with: openssl rand -hex 32`)
  }
  return {
    // The schema holds ids to the pattern that the brand stands for.
    id: id as OrgId,
    name: org.name,
    traceKey,
    loopSecret,
    otherLoopSecret,
    nextHop: {
      host: hop.host,
      port: hop.port,
      helo: reading.file.name,
      implicitTls: hop.implicitTls ?? false,
      connections: hop.connections ?? 20,
      ...tlsPolicyOf(reading, hop, place),
      ...authOf(reading, hop, `${place} > nextHop`),
    },
    microsoft: hop.microsoft ?? /\.mail\.protection\.outlook\.com$/i.test(hop.host),
    carryLimit: hop.carryLimit ?? 25_000_000,
    api: apiOf(reading, org.api, `${place} > api`),
    dkim: dkimOf(reading, org, place),
  }
}

function loopSecretsOf(
  reading: Reading,
  given: ConfigFile['organizations'][string]['loopSecret'],
  place: string,
): (string | null)[] {
  const files = given === undefined || Array.isArray(given) ? (given ?? []) : [given]
  return files.map((file) => {
    const secret = secretOf(reading, file, place)
    if (secret !== null && !/^[A-Za-z0-9_-]{16,128}$/.test(secret)) {
      const todo = 'make one with: openssl rand -hex 24'
      reading.faults.push(`${place}: expected 16 to 128 letters, digits, - and _; ${todo}`)
    }
    return secret
  })
}

/** What tokens are for at the clouds' SMTP servers. */
const SMTP_SCOPES = { microsoft: 'https://outlook.office365.com/.default', google: 'https://mail.google.com/' } as const

function authOf(
  reading: Reading,
  { user, password, oauth }: ConfigFile['organizations'][string]['nextHop'],
  place: string,
): { auth?: SmtpAuth } {
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

function tlsPolicyOf(
  reading: Reading,
  hop: ConfigFile['organizations'][string]['nextHop'],
  place: string,
): { tls?: TlsPolicy } {
  const { tls } = hop
  if (tls === undefined) return {}
  const name = tls.name === undefined ? {} : { name: tls.name }
  const own = ownCertificateOf(reading, tls, `${place} > nextHop > tls`)
  if (tls.mode === 'verify') {
    const ca = tls.ca === undefined ? {} : { ca: [publicOf(reading, tls.ca, `${place} > nextHop > tls > ca`)] }
    return { tls: { mode: 'verify', ...name, ...ca, ...own } }
  }
  if (tls.mode === 'none') return { tls: { mode: 'none' } }
  if (tls.mode === 'opportunistic') return { tls: { mode: 'opportunistic', ...own } }
  if (tls.pins === undefined) reading.faults.push(`${place} > nextHop > tls: with mode pin, pins are needed`)
  return { tls: { mode: 'pin', spki: tls.pins ?? [], ...name, ...own } }
}

/** What is shown to a next hop that asks for a certificate. */
function ownCertificateOf(
  { at, faults, now }: Reading,
  { mode, certificate, key }: NonNullable<ConfigFile['organizations'][string]['nextHop']['tls']>,
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
