import { isLoopback } from './address-range.ts'
import { publicOf, type Reading } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'
import type { ScannerOptions } from './scanner.ts'
import type { ScannerPlace } from './scanner-wire.ts'
import type { TlsPolicy } from './tls-policy.ts'

type Given = NonNullable<ConfigFile['scanner']>

const PORTS = { clamd: 3310, icap: 1344 } as const
/** What Debian's clamd and c-icap look at as they are installed, octets. */
const SIZES = { clamd: 26_214_400, icap: 5_242_880 } as const

/** A scanner as it is configured; null where there is none. Faults are noted in `reading`. */
export function scannerOf(reading: Reading, given: Given | undefined, place: string): ScannerOptions | null {
  if (given === undefined) return null
  const { kind, host = '127.0.0.1', service } = given
  if (kind === 'clamd' && service !== undefined) reading.faults.push(`${place} > service: is for kind icap`)
  if (kind === 'icap' && service === undefined) {
    reading.faults.push(`${place}: service is missing; expected the path of the ICAP service, such as avscan`)
  }
  const port = given.port ?? PORTS[kind]
  return {
    place: placeOf(reading, given, { host, port }, place),
    icap: kind === 'icap' ? { host, port, service: service ?? '' } : null,
    timeoutMs: 1000 * (given.timeoutSeconds ?? 20),
    maxSize: given.maxSize ?? SIZES[kind],
    connections: given.connections ?? 8,
  }
}

function placeOf(
  reading: Reading,
  { kind, socket, tls, ...rest }: Given,
  { host, port }: { readonly host: string; readonly port: number },
  place: string,
): ScannerPlace {
  const { faults } = reading
  if (socket !== undefined) {
    if (kind !== 'clamd') faults.push(`${place} > socket: is for kind clamd`)
    if (rest.host !== undefined || rest.port !== undefined || tls !== undefined) {
      faults.push(`${place}: either socket, or host and port`)
    }
    return { kind: 'socket', path: reading.at(socket) }
  }
  if (tls === undefined && !isLoopback(host)) {
    const todo = kind === 'clamd' ? 'clamd has no TLS: write' : 'write tls: {mode: verify}, or'
    faults.push(
      `${place}: the clear text of all mail would go to ${host}; ${todo} tls: {mode: none} if nobody can listen there`,
    )
  }
  if (kind === 'clamd' && tls !== undefined && tls.mode !== 'none') {
    faults.push(`${place} > tls > mode: clamd has no TLS; expected none`)
  }
  return { kind: 'host', host, port, tls: policyOf(reading, tls, place) }
}

function policyOf(reading: Reading, tls: Given['tls'], place: string): TlsPolicy | null {
  if (tls === undefined || tls.mode === 'none') return null
  const name = tls.name === undefined ? {} : { name: tls.name }
  const ca = tls.ca === undefined ? {} : { ca: [publicOf(reading, tls.ca, `${place} > tls > ca`)] }
  return { mode: 'verify', ...name, ...ca }
}
