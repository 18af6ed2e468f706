import type { FastifyBaseLogger } from 'fastify'
import type { OrgId } from '../protocol/identifiers.ts'
import type { Clock } from './clock.ts'
import type { Config } from './config.ts'
import type { Journal } from './journal.ts'
import type { Keyring } from './keyring.ts'
import type { Metrics } from './metrics.ts'
import type { Policies } from './policies.ts'
import type { Store } from './store.ts'

/** What the apps are built from. */
export type Parts = {
  readonly config: Config
  readonly store: Store
  readonly keyring: Keyring
  readonly journal: Journal
  readonly clock: Clock
  readonly policies: Policies
  readonly metrics: Metrics
  readonly log: FastifyBaseLogger
}

/** `https://<host>/m/<id>` of an organization; it ends in the id. */
export function linkOf(config: Config, org: OrgId, id: string): string {
  const organization = config.organizations[org]
  return new URL(`/m/${id}`, organization?.url ?? config.public.url).href
}
