import { X509Certificate } from 'node:crypto'
import type { BlockList } from 'node:net'
import { blockListOf, isLoopback } from './address-range.ts'
import { publicOf, type Reading, secretOf } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'
import type { ProofRule } from './proof.ts'

type ListenerFile = ConfigFile['listeners'][number]
type RuleFile = NonNullable<ListenerFile['clients']>[number]

/** What proves an organization at this listener by one item of `clients`; faults are noted in `reading`. */
export function ruleOf(reading: Reading, listener: ListenerFile, rule: RuleFile, place: string): ProofRule[] {
  const { faults, file } = reading
  const { org, from, certificate } = rule
  const at = `${place} > clients`
  if (file.organizations[org] === undefined) {
    faults.push(`${at}: ${org} is not among the organizations of this file`)
    return []
  }
  if (from === 'anyone') {
    if (rule.tenantSecret) faults.push(`${at}: with tenantSecret, from names the provider's ranges`)
    if (certificate !== undefined) faults.push(`${at}: with certificate, from names ranges or is left out`)
    if (!isLoopback(listener.host)) faults.push(`${at}: from anyone is for loopback listeners; name the ranges`)
    return [{ kind: 'listener', org }]
  }
  if (from === undefined && certificate === undefined) {
    faults.push(`${at}: ${org} needs from or certificate`)
    return []
  }
  const ranges = from === undefined ? null : rangesOf(reading, from, at)
  const secrets = rule.tenantSecret ? tenantSecretsOf(reading, org) : [null]
  if (from !== undefined && ranges === null) return []
  if (certificate !== undefined) {
    const shown = shownOf(reading, listener, certificate, at)
    return shown === null ? [] : secrets.map((secret) => ({ kind: 'certificate', org, ranges, secret, ...shown }))
  }
  if (ranges === null) return []
  return secrets.map((secret) => {
    return secret === null ? { kind: 'range', org, ranges } : { kind: 'tenant', org, ranges, secret }
  })
}

/** What a client must show in TLS; null with a fault. */
function shownOf(
  reading: Reading,
  { tls }: ListenerFile,
  certificate: NonNullable<RuleFile['certificate']>,
  place: string,
): Pick<Extract<ProofRule, { kind: 'certificate' }>, 'authorities' | 'names'> | null {
  const at = `${place} > certificate`
  if (tls === undefined) reading.faults.push(`${at}: give tls, without which no client can show one`)
  const text = publicOf(reading, certificate.ca, `${at} > ca`)
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
  const names = certificate.names.map((name) => name.toLowerCase())
  try {
    const authorities = blocks.map((block) => new X509Certificate(block))
    const valid = authorities.filter((one) => new Date(one.validTo) > reading.now)
    if (valid.length > 0) return { authorities: valid, names }
    if (text !== '') reading.faults.push(`${at} > ca: ${certificate.ca} holds no PEM certificate that is valid today`)
  } catch {
    reading.faults.push(`${at} > ca: ${certificate.ca} holds a PEM certificate that cannot be read`)
  }
  return null
}

function rangesOf({ faults }: Reading, from: readonly string[], at: string): BlockList | null {
  const ranges = blockListOf(from)
  if ('list' in ranges) return ranges.list
  faults.push(`${at} > from: ${ranges.fault}`)
  return null
}

/** One, or two while one takes the other's place; none with a fault. */
function tenantSecretsOf(reading: Reading, org: string): readonly string[] {
  const { faults, file } = reading
  const place = `organizations > ${org} > tenantSecret`
  const given = file.organizations[org]?.tenantSecret
  if (given === undefined) faults.push(`organizations > ${org} needs a tenantSecret, which a client of it must know`)
  const files = given === undefined || Array.isArray(given) ? (given ?? []) : [given]
  return files.flatMap((one) => {
    const secret = secretOf(reading, one, place)
    if (secret === null) return []
    if (secret.length >= 16) return [secret]
    faults.push(`${place}: expected 16 characters or more`)
    return []
  })
}
