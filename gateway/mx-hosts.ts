import type { Exchange, Records, Resolver } from './resolver.ts'

/** Where the mail of a domain goes (RFC 5321 5.1). */
export type MxHosts =
  | {
      readonly kind: 'hosts'
      /** In the order in which they are tried; at least one. */
      readonly names: readonly [string, ...string[]]
      /** That it is these was validated by DNSSEC. */
      readonly secure: boolean
    }
  /** It surely goes nowhere. */
  | { readonly kind: 'none'; readonly code: number; readonly enhanced: string; readonly text: string }

/** Hosts of one domain that are looked at. */
const MOST = 10

/** `self` is our own name. Rejects with a `DnsFault` where DNS cannot be asked. */
export async function findMxHosts(
  resolver: Pick<Resolver, 'mx' | 'addresses'>,
  domain: string,
  self: string,
  random: () => number,
): Promise<MxHosts> {
  const found = await resolver.mx(domain)
  if (!found.exists) return none(550, '5.1.2', `the domain ${domain} does not exist`)
  if (found.values.length === 0) return implicit(resolver, found, domain)
  const exchanges = found.values.filter(({ exchange }) => exchange !== '')
  // RFC 7505 3; beside others such a record means nothing.
  if (exchanges.length === 0) return none(556, '5.1.10', `the domain ${domain} takes no mail (null MX)`)
  const names = inOrder(exchanges, self.toLowerCase(), random)
  const [first, ...rest] = [...new Set(names)].slice(0, MOST)
  if (first === undefined) return none(554, '5.4.6', `this gateway itself is the best mail exchanger of ${domain}`)
  return { kind: 'hosts', names: [first, ...rest], secure: found.secure }
}

/** Without MX the domain is its own host, if it has an address. */
async function implicit(
  resolver: Pick<Resolver, 'addresses'>,
  { secure, canonical }: Records<Exchange>,
  domain: string,
): Promise<MxHosts> {
  const { values } = await resolver.addresses(canonical)
  if (values.length === 0) return none(550, '5.1.2', `the domain ${domain} has neither a mail exchanger nor an address`)
  return { kind: 'hosts', names: [canonical], secure }
}

/** By preference, those of the same one shuffled. Where one is ourselves, only better ones remain: else mail would go in a circle. */
function inOrder(exchanges: readonly Exchange[], self: string, random: () => number): string[] {
  const own = exchanges.filter(({ exchange }) => exchange === self).map(({ preference }) => preference)
  const limit = Math.min(Number.POSITIVE_INFINITY, ...own)
  return exchanges
    .filter(({ preference }) => preference < limit)
    .map((one) => ({ ...one, lot: random() }))
    .sort((a, b) => a.preference - b.preference || a.lot - b.lot)
    .map(({ exchange }) => exchange)
}

function none(code: number, enhanced: string, text: string): MxHosts {
  return { kind: 'none', code, enhanced, text }
}
