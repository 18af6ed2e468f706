import { domainToASCII } from 'node:url'
import type { Reading } from './config-reading.ts'
import { secretOf } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'
import { type DkimKey, dkimKeyFault } from './dkim-key.ts'

/** What configuration says of DKIM for one organization. */
export type DkimConfig = {
  /** Of every domain; whether they are used is up to `signs`. */
  readonly keys: readonly DkimKey[]
  /** The next hop signs what it gets from us. */
  readonly nextHopSigns: boolean
  /** We sign: there are keys, and the next hop does not. */
  readonly signs: boolean
}

type OrganizationFile = ConfigFile['organizations'][string]

/** Providers that sign what their customers send through them. */
const SIGNING_HOPS = /(?:^|\.)(?:protection\.outlook\.com|smtp\.office365\.com|smtp(?:-relay)?\.gmail\.com)$/i

/** The keys of one organization, read; faults are noted in `reading`. */
export function dkimOf(reading: Reading, org: OrganizationFile, place: string): DkimConfig {
  const keys = (org.dkim ?? []).flatMap((item, index) => keyOf(reading, item, `${place} > dkim > ${index + 1}`))
  const names = keys.map(({ domain, selector }) => `${selector} of ${domain}`)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) reading.faults.push(`${place} > dkim: the selector ${twice} is there twice; name each once`)
  const { signs, microsoft, host = '' } = org.nextHop === 'mx' ? {} : org.nextHop
  const nextHopSigns = signs ?? (microsoft === true || SIGNING_HOPS.test(host))
  return { keys, nextHopSigns, signs: keys.length > 0 && !nextHopSigns }
}

function keyOf(
  reading: Reading,
  { domain, selector, key }: NonNullable<OrganizationFile['dkim']>[number],
  place: string,
): DkimKey[] {
  const ascii = domainToASCII(domain)
  if (ascii === '') {
    reading.faults.push(`${place} > domain: ${domain} is no domain`)
    return []
  }
  const pem = secretOf(reading, { file: key }, `${place} > key`)
  if (pem === null) return []
  const fault = dkimKeyFault(pem)
  if (fault === null) return [{ domain: ascii, selector: selector.toLowerCase(), pem }]
  reading.faults.push(`${place} > key: ${reading.at(key)} ${fault}`)
  return []
}
