import { isAbroad } from './address-range.ts'
import { usableTlsa } from './dane.ts'
import { DnsFault } from './dns-exchange.ts'
import type { StsPolicies, StsPolicy } from './mta-sts.ts'
import { findMxHosts, type MxHosts } from './mx-hosts.ts'
import type { Records, Resolver } from './resolver.ts'
import { isVerifying, type TlsPolicy } from './tls-policy.ts'

/** One server that the mail of a domain can be handed to, and the TLS that it and its domain demand. */
export type Candidate = {
  readonly kind: 'candidate'
  readonly host: string
  readonly address: string
  readonly tls: TlsPolicy
}

/** A host that cannot be used now, and why. `lasting`: it is not for a fault that may pass. */
export type Skipped = {
  readonly kind: 'skipped'
  readonly enhanced: string
  readonly text: string
  readonly lasting: boolean
}

/** A domain's hosts, with what its MTA-STS policy says of them. */
export type Route = Extract<MxHosts, { kind: 'hosts' }> & { readonly domain: string; readonly sts: StsPolicy }

export type MxRoutes = {
  /** Rejects with a {@link DnsFault}. */
  find(domain: string): Promise<Route | Extract<MxHosts, { kind: 'none' }>>
  /** In the order in which they are to be tried. `verified`: only those whose TLS can be verified. Never rejects. */
  candidates(route: Route, verified: boolean): AsyncGenerator<Candidate | Skipped>
}

export type MxRoutesParts = {
  readonly resolver: Resolver
  /** DNSSEC is validated: DANE counts. */
  readonly validating: boolean
  readonly sts: StsPolicies
  /** Our own name. */
  readonly self: string
  readonly port: number
  /** Authorities, PEM, for MTA-STS; null: the system's. */
  readonly ca: string | null
  /** Addresses of this machine may be gone to. */
  readonly here: boolean
  readonly random: () => number
}

/** Of one host. */
const ADDRESSES = 4

/**
 * How mail finds its way to a domain without a relay: RFC 5321 5.1, with what RFC 8461 (MTA-STS) and RFC 7672 (DANE) demand of each host. DANE counts
 * before MTA-STS for the certificate (RFC 8461 2); an enforced MTA-STS policy says, too, which hosts may be gone to at all.
 */
export function createMxRoutes(parts: MxRoutesParts): MxRoutes {
  const { resolver } = parts

  async function* ofHost(route: Route, host: string, verified: boolean): AsyncGenerator<Candidate | Skipped> {
    if (!route.sts.allows(host)) {
      yield skipped('4.7.5', `the MTA-STS policy of ${route.domain} does not name ${host}`)
      return
    }
    const found = await resolver.addresses(host)
    const addresses = found.values.filter((address) => parts.here || isAbroad(address))
    if (addresses.length === 0) {
      yield skipped('4.4.4', `${host} has no address that mail can go to`)
      return
    }
    const tls = await tlsOf(parts, route, host, found)
    if (verified && !isVerifying(tls)) {
      const text = `${host} promises no TLS that can be verified (neither DANE nor an enforced MTA-STS policy)`
      yield { ...skipped('5.7.4', text), lasting: true }
      return
    }
    for (const address of addresses.slice(0, ADDRESSES)) yield { kind: 'candidate', host, address, tls }
  }

  return {
    async find(domain) {
      const hosts = await findMxHosts(resolver, domain, parts.self, parts.random)
      return hosts.kind === 'none' ? hosts : { ...hosts, domain, sts: await parts.sts.of(domain) }
    },
    async *candidates(route, verified) {
      for (const host of route.names) {
        try {
          yield* ofHost(route, host, verified)
        } catch (error) {
          if (!(error instanceof DnsFault)) throw error
          yield skipped('4.4.3', `DNS does not answer for ${host}: ${error.message}`)
        }
      }
    },
  }
}

/** What one host's TLS must be. Rejects with a {@link DnsFault} where that cannot be found out: such a host is not to be used. */
async function tlsOf(
  { resolver, validating, port, ca }: MxRoutesParts,
  route: Route,
  host: string,
  addresses: Records<string>,
): Promise<TlsPolicy> {
  if (validating && route.secure && addresses.secure) {
    // RFC 7672 2.2.2: at the end of a validated alias first, then at the name itself.
    for (const base of new Set([addresses.canonical, host])) {
      const { values, secure } = await resolver.tlsa(`_${port}._tcp.${base}`)
      if (!secure || values.length === 0) continue
      const records = usableTlsa(values)
      if (records.length > 0) return { mode: 'dane', records, names: [base, host, route.domain] }
      if (!route.sts.enforced) return { mode: 'encrypt' }
    }
  }
  if (route.sts.enforced) return { mode: 'verify', name: host, ...(ca === null ? {} : { ca: [ca] }) }
  return { mode: 'opportunistic' }
}

function skipped(enhanced: string, text: string): Skipped {
  return { kind: 'skipped', enhanced, text, lasting: false }
}
