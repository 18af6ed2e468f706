import type { OrgId } from '../protocol/identifiers.ts'
import type { OrganizationConfig } from './config.ts'
import { apiOf } from './config-api.ts'
import { nextHopOf } from './config-next-hop.ts'
import { type Reading, secretOf } from './config-reading.ts'
import { scannerOf } from './config-scanner.ts'
import type { ConfigFile } from './config-schema.ts'
import { dkimOf } from './dkim-config.ts'
import type { ScannerOptions } from './scanner.ts'

/** One organization, with its next hop; faults are noted in `reading`. `scanner`: that of organizations which name none. */
export function organizationOf(
  reading: Reading,
  id: string,
  org: ConfigFile['organizations'][string],
  scanner: ScannerOptions | null = null,
): OrganizationConfig {
  const { faults } = reading
  const place = `organizations > ${id}`
  const hop = org.nextHop === 'mx' ? {} : org.nextHop
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
    nextHop: nextHopOf(reading, org.nextHop, `${place} > nextHop`),
    microsoft: hop.microsoft ?? /\.mail\.protection\.outlook\.com$/i.test(hop.host ?? ''),
    carryLimit: hop.carryLimit ?? 25_000_000,
    api: apiOf(reading, org.api, `${place} > api`),
    dkim: dkimOf(reading, org, place),
    scanner: ownScanner(reading, org.scanner, scanner, `${place} > scanner`),
  }
}

function ownScanner(
  reading: Reading,
  given: ConfigFile['organizations'][string]['scanner'],
  otherwise: ScannerOptions | null,
  place: string,
): ScannerOptions | null {
  if (given === 'none') return null
  return given === undefined ? otherwise : scannerOf(reading, given, place)
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
