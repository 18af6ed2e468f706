import type { OrganizationConfig } from '../gateway/config.ts'
import type { MxConfig } from '../gateway/config-next-hop.ts'
import { DnsFault } from '../gateway/dns-exchange.ts'
import { resolverOf } from '../gateway/mx-delivery.ts'
import { findMxHosts } from '../gateway/mx-hosts.ts'
import { type Candidate, createMxRoutes, type Route } from '../gateway/mx-route.ts'
import type { Resolver } from '../gateway/resolver.ts'
import { openSmtpClient, phaseTimeouts } from '../gateway/smtp-client.ts'
import { broken, type Finding, look, ok, reasonOf } from './doctor-finding.ts'

/** Of one greeting. */
const BUDGET_MS = 30_000
/** A zone that is signed and has no MX: who validates says that this is so, authentically. */
const SIGNED = 'org'

/** What delivery to recipients' own servers needs: name servers, a name of our own, and an open way out. */
export async function mxFindings(
  { id }: OrganizationConfig,
  config: MxConfig,
  domains: readonly string[],
): Promise<Finding[]> {
  const resolver = resolverOf(config)
  const own = domains[0] ?? id
  try {
    const hosts = await findMxHosts(resolver, own, config.helo, Math.random)
    const found = [ok('next hop', `${id}: mail goes to each domain's own servers; the name servers answer`)]
    found.push(await nameFinding(resolver, config.helo))
    if (config.validating) found.push(await validationFinding(resolver))
    if (hosts.kind === 'none' && hosts.enhanced === '5.4.6') {
      const todo = 'name the server behind it as a better MX, or use a relay as nextHop: until then it gets 554 5.4.6'
      found.push(broken('loops', `${id}: mail to ${own} itself would come back to this gateway`, todo))
    }
    if (hosts.kind === 'hosts') found.push(await wayOutFinding(resolver, config, { ...hosts, domain: own, sts: none }))
    return found
  } catch (error) {
    if (!(error instanceof DnsFault)) throw error
    const todo =
      'name servers that answer as nextHop > mx > resolver, or mend those of this machine; until then every mail waits'
    return [broken('next hop', `${id}: no name server answers: ${error.message}`, todo)]
  }
}

const none = { enforced: false, allows: () => true } as const

/** Servers look whether whoever greets them is who they say. */
async function nameFinding(resolver: Resolver, name: string): Promise<Finding> {
  const { values } = await resolver.addresses(name)
  if (values.length > 0)
    return ok('next hop', `${name}, our name in EHLO, has the address ${values.slice(0, 2).join(', ')}`)
  const todo =
    'publish its address, and let the address lead back to the name (PTR): many servers refuse mail from others'
  return look('next hop', `${name}, our name in EHLO, has no address in DNS`, todo)
}

async function validationFinding(resolver: Resolver): Promise<Finding> {
  const { secure } = await resolver.mx(SIGNED)
  if (secure) return ok('next hop', 'the name servers validate DNSSEC: DANE is used')
  const todo = 'name a validating resolver on this machine (unbound, for example) as nextHop > mx > resolver'
  return look('next hop', 'the name servers do not say that signed answers are authentic: DANE is never used', todo)
}

/** Port 25 outward is closed in many places: tried towards the servers of the organization itself. */
async function wayOutFinding(resolver: Resolver, config: MxConfig, route: Route): Promise<Finding> {
  const { port, helo, ca, here, validating } = config
  const sts = { of: async () => none }
  const routes = createMxRoutes({ resolver, validating, sts, self: helo, port, ca, here, random: Math.random })
  const first = await firstOf(routes.candidates(route, false))
  if (first === null) {
    return look('next hop', `no server of ${route.domain} could be tried`, 'have its MX records looked at')
  }
  const { host, address, tls } = first
  try {
    const hop = { host, address, port, helo, tls, implicitTls: false, auth: null }
    const { wire, capabilities } = await openSmtpClient(hop, phaseTimeouts(BUDGET_MS))
    wire.end('QUIT\r\n')
    return ok(
      'next hop',
      `the way out is open: ${host}:${port} greets us, ${capabilities.tls ? `TLS (${tls.mode})` : 'no TLS'}`,
    )
  } catch (error) {
    const todo = `if that server is well, let port ${port} outward through firewalls, and ask the network's owner: it is often closed`
    return look('next hop', `${host}:${port} cannot be reached from here: ${reasonOf(error)}`, todo)
  }
}

async function firstOf(
  candidates: ReturnType<ReturnType<typeof createMxRoutes>['candidates']>,
): Promise<Candidate | null> {
  for await (const one of candidates) if (one.kind === 'candidate') return one
  return null
}
