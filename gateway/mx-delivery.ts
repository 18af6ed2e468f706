import { getServers } from 'node:dns'
import type { MxConfig } from './config-next-hop.ts'
import type { Courier } from './courier.ts'
import { createMxCourier } from './courier-mx.ts'
import { dnsServerOf } from './dns-server.ts'
import type { Log } from './log.ts'
import { openStsPolicies } from './mta-sts.ts'
import { createMxRoutes } from './mx-route.ts'
import { createResolver, type Resolver } from './resolver.ts'

export type MxDeliveryParts = {
  readonly config: MxConfig
  /** Where MTA-STS policies are remembered. */
  readonly file: string
  readonly budgetMs: number
  /** The organization's own domains, none while they are not known. */
  readonly domains: () => readonly string[]
  readonly log: Log
}

/** The courier of an organization whose mail goes straight to the recipients' domains. */
export async function openMxDelivery({ config, file, budgetMs, domains, log }: MxDeliveryParts): Promise<Courier> {
  const resolver = resolverOf(config)
  const sts = await openStsPolicies({ resolver, file, log, timeoutMs: Math.min(10_000, budgetMs / 3) })
  const { helo, port, ca, here, validating, connections } = config
  const routes = createMxRoutes({ resolver, validating, sts, self: helo, port, ca, here, random: Math.random })
  return createMxCourier({ routes, port, helo, connections, budgetMs, domains })
}

/** Asks the servers that are configured, or the system's. */
export function resolverOf({ resolver, validating }: Pick<MxConfig, 'resolver' | 'validating'>): Resolver {
  const servers = resolver ?? getServers().flatMap((text) => dnsServerOf(text) ?? [])
  return createResolver({ servers, validating })
}
