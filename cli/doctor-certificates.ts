import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { rootCertificates } from 'node:tls'
import type { Config, OrganizationConfig } from '../gateway/config.ts'
import type { Config as KeyServerConfig } from '../keyserver/config.ts'
import { broken, type Finding, look, ok } from './doctor-finding.ts'

type Held = {
  /** Whose certificate it is, such as `listener submission`. */
  readonly what: string
  /** PEM, the own certificate first. */
  readonly pem: string
  /** Authorities that the other side believes; the system's and none else where absent. */
  readonly ca?: string
  /** The name that others check; null where none do. */
  readonly name: string | null
  /** Shown by us to a server: who checks its purposes wants client authentication among them. */
  readonly asClient?: boolean
}

const DAY = 86_400_000
const SOON_DAYS = 30
/** id-kp-clientAuth and anyExtendedKeyUsage. */
const CLIENT = '1.3.6.1.5.5.7.3.2'
const ANY = '2.5.29.37.0'

/** The days left and the chain of each certificate that this gateway shows, and, where its configuration is here, the key server. */
export function certificateFindings(gateway: Config, keyServer: KeyServerConfig | null, now: Date): Finding[] {
  const held: Held[] = gateway.listeners.flatMap(({ options }) =>
    options.tls === null
      ? []
      : [{ what: `listener ${options.name}`, pem: options.tls.certificate, name: gateway.name }],
  )
  for (const { id, nextHop } of gateway.organizations) {
    const tls = nextHop.kind === 'relay' ? nextHop.tls : undefined
    const pem = tls !== undefined && 'own' in tls ? tls.own?.cert : undefined
    if (pem !== undefined) held.push({ what: `${id} towards its next hop`, pem, name: null, asClient: true })
  }
  const shown = gateway.organizations.flatMap((org) => applicationFindings(org, now))
  const { certificate, ca } = gateway.keyServer
  held.push({ what: 'this gateway towards the key server', pem: certificate, ca, name: null })
  if (keyServer !== null) {
    const { public: pages, gatewayListener } = keyServer
    const { tls } = gatewayListener
    held.push({
      what: "key server's gateway listener",
      pem: tls.cert,
      ca,
      name: new URL(gateway.keyServer.url).hostname,
    })
    if (pages.tls !== null) {
      held.push({ what: "key server's public listener", pem: pages.tls.cert, name: new URL(pages.url).hostname })
    }
  }
  return [...held.flatMap((one) => findingsOf(one, now)), ...shown, ...identityFindings(certificate)]
}

/** Of what signs in to a provider's API. Who issued it does not matter: the provider was given this very certificate. */
function applicationFindings({ id, api }: OrganizationConfig, now: Date): Finding[] {
  if (api === null || !('clientCertificate' in api.credentials)) return []
  const ends = Date.parse(new X509Certificate(api.credentials.clientCertificate.cert).validTo)
  const renew = 'make another, give it to the application, and name it in clientCertificate before this one ends'
  return [lifeFinding(`${id} towards its provider's API`, ends, now, renew)]
}

function findingsOf(held: Held, now: Date): Finding[] {
  const chain = certificatesIn(held.pem)
  const [own] = chain
  if (own === undefined) return [broken('certificates', `${held.what}: the certificate cannot be read`, 'make it anew')]
  const ends = Math.min(...chain.map((one) => Date.parse(one.validTo)))
  const faults = [chainFault(chain, held), nameFault(own, held.name), purposeFault(own, held)].filter(
    (fault) => fault !== null,
  )
  const found: Finding[] = faults.map(([text, todo]) => look('certificates', `${held.what}: ${text}`, todo))
  return [lifeFinding(held.what, ends, now), ...found]
}

/** How long a certificate is still good; `ends` in ms, `renew` what to do about it. */
export function lifeFinding(
  what: string,
  ends: number,
  now: Date,
  renew = 'renew it: sealpost certs init --renew, or ask whoever issued it; then restart',
): Finding {
  const days = Math.floor((ends - now.getTime()) / DAY)
  const until = `valid until ${new Date(ends).toISOString().slice(0, 10)}, ${days} ${days === 1 ? 'day' : 'days'} more`
  if (days < 0) return broken('certificates', `${what}: expired ${-days} days ago`, renew)
  return days < SOON_DAYS ? look('certificates', `${what}: ${until}`, renew) : ok('certificates', `${what}: ${until}`)
}

/** Whether the chain leads, link by link, to an authority that the other side believes. */
function chainFault(chain: readonly X509Certificate[], { ca }: Held): [string, string] | null {
  for (const [index, one] of chain.slice(0, -1).entries()) {
    const next = chain[index + 1]
    if (next === undefined || !isIssuedBy(one, next)) {
      return ['its chain is out of order', 'put the own certificate first, then each one that issued the one before it']
    }
  }
  const last = chain.at(-1)
  const roots = ca === undefined ? rootCertificates.map((pem) => new X509Certificate(pem)) : certificatesIn(ca)
  if (last === undefined || roots.some((root) => isIssuedBy(last, root) || root.fingerprint256 === last.fingerprint256))
    return null
  return ca === undefined
    ? [
        `its chain ends at ${nameOf(last)}, which is no public authority`,
        'fine where all who connect know this authority; else append the intermediate certificates to the file',
      ]
    : [`its chain does not lead to the authority in keyServer > ca`, 'name the authority that issued it, or renew it']
}

function isIssuedBy(one: X509Certificate, issuer: X509Certificate): boolean {
  return one.checkIssued(issuer) && one.verify(issuer.publicKey)
}

function nameFault(own: X509Certificate, name: string | null): [string, string] | null {
  if (name === null) return null
  if ((isIP(name) === 0 ? own.checkHost(name) : own.checkIP(name)) !== undefined) return null
  return [`it does not name ${name}`, `clients that check names refuse it: get one for ${name}`]
}

/** RFC 5280 4.2.1.12; a certificate that names no purpose is good for all. */
function purposeFault({ keyUsage }: X509Certificate, { asClient }: Held): [string, string] | null {
  if (asClient !== true || keyUsage === undefined || keyUsage.length === 0) return null
  if (keyUsage.some((purpose) => purpose === CLIENT || purpose === ANY)) return null
  return [
    'it does not name client authentication among its purposes',
    'fine where the next hop does not ask for it; else get one that does',
  ]
}

/** The key server knows a gateway by a name in its certificate. */
function identityFindings(pem: string): Finding[] {
  const [own] = certificatesIn(pem)
  const name = /URI:sealpost:gateway:([^,\s"]+)/.exec(own?.subjectAltName ?? '')?.[1]
  if (name !== undefined) return [ok('certificates', `the key server knows this gateway as ${name}`)]
  return [
    broken(
      'certificates',
      'the certificate towards the key server names no gateway (SAN URI sealpost:gateway:<name>)',
      'make one with: sealpost certs add --gateway <name>',
    ),
  ]
}

function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}

function nameOf(certificate: X509Certificate): string {
  return /CN=([^\n]+)/.exec(certificate.issuer)?.[1] ?? 'an unnamed issuer'
}
