import type { Capabilities } from './courier.ts'

/** What the keywords of an EHLO answer (upper case, with their parameters) offer; `verified`: TLS is demanded and its certificate looked at. */
export function readCapabilities(offers: ReadonlyMap<string, string>, tls: boolean, verified: boolean): Capabilities {
  const size = offers.get('SIZE')
  return {
    smtputf8: offers.has('SMTPUTF8'),
    eightBitMime: offers.has('8BITMIME'),
    pipelining: offers.has('PIPELINING'),
    // RFC 1870: without a number, or with 0, no largest size is named.
    size: size !== undefined && /^[1-9]\d{0,14}$/.test(size) ? Number(size) : null,
    tls,
    verified: tls && verified,
    offersSize: offers.has('SIZE'),
    dsn: offers.has('DSN'),
    requireTls: tls && verified && offers.has('REQUIRETLS'),
  }
}
