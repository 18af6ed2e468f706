import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { OrgId } from '../protocol/identifiers.ts'
import type { Tracer } from '../telemetry/tracer.ts'
import type { Breaker } from './breaker.ts'
import type { OrganizationConfig } from './config.ts'
import type { MxConfig } from './config-next-hop.ts'
import type { Courier } from './courier.ts'
import { createApiCourier } from './courier-api.ts'
import { createSmtpCourier } from './courier-smtp.ts'
import { signingCourier } from './dkim.ts'
import type { Egress } from './egress.ts'
import type { Log } from './log.ts'
import { madeSecret } from './made-secret.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import { createScanner } from './scanner.ts'
import { traceCourier } from './traced.ts'
import { watchCourier } from './watched.ts'

export type OrganizationParts = {
  /** Where all that the gateway writes lies. */
  readonly data: string
  /** The most that one delivery may take, milliseconds. */
  readonly budgetMs: number
  /** The organization's own domains, as its active policy names them; null: none is known. */
  readonly domainsOf: (org: OrgId) => readonly string[] | null
  readonly breakerOf: (org: OrgId) => Breaker
  readonly egress: Egress
  readonly metrics: Metrics
  readonly tracer: Tracer
  readonly log: Log
}

/** The organizations as configured, each with its couriers and scanner; a secret that is not configured is made and kept. */
export async function openOrganizations(
  configured: readonly OrganizationConfig[],
  parts: OrganizationParts,
): Promise<Map<OrgId, Organization>> {
  const secrets = await folderIn(parts.data, 'secrets')
  const organizations = new Map<OrgId, Organization>()
  for (const org of configured) {
    const { id, name, traceKey, loopSecret, otherLoopSecret, nextHop, microsoft, carryLimit, scanner } = org
    organizations.set(id, {
      id,
      name,
      traceKey: Buffer.from(traceKey ?? (await madeSecret(secrets, `${id}.trace`))),
      loopSecret: loopSecret ?? (await madeSecret(secrets, `${id}.loop`)),
      otherLoopSecret,
      courier: await openCourier(org, parts),
      scanner: scanner === null ? null : createScanner(scanner),
      // Where mail goes to each domain's own servers, an answer names the one that gave it.
      nextHop: nextHop.kind === 'mx' ? nextHop.helo : nextHop.host,
      towardsMicrosoft: microsoft,
      carryLimit,
    })
  }
  return organizations
}

/** By SMTP or MX, signed where we sign, by the provider's API where there is one; watched and traced. */
async function openCourier({ id, nextHop, dkim, api }: OrganizationConfig, parts: OrganizationParts): Promise<Courier> {
  const { budgetMs, egress, metrics, log } = parts
  const domains = () => parts.domainsOf(id)
  const bySmtp =
    nextHop.kind === 'mx' ? await openByMx(id, nextHop, parts) : createSmtpCourier({ ...nextHop, budgetMs })
  const signing = { org: id, keys: dkim.keys, domains, egress, log }
  const courier = dkim.signs ? await signingCourier(bySmtp, signing) : bySmtp
  const beside = { otherwise: courier, budgetMs, org: id, metrics, log }
  const way = api === null ? courier : await createApiCourier(api, beside)
  // With delivery by MX no one domain that is away stands for all the others.
  const watched = nextHop.kind === 'mx' ? way : watchCourier(way, parts.breakerOf(id))
  return traceCourier(watched, id, parts.tracer)
}

/** What asks DNS and for MTA-STS policies is loaded only here: its packages take 11 MB that nobody with a relay needs. */
async function openByMx(id: OrgId, config: MxConfig, { data, domainsOf, budgetMs, log }: OrganizationParts) {
  const { openMxDelivery } = await import('./mx-delivery.ts')
  const file = join(await folderIn(data, 'mta-sts'), `${id}.json`)
  return openMxDelivery({ config, file, budgetMs, domains: () => domainsOf(id) ?? [], log })
}

async function folderIn(data: string, name: string): Promise<string> {
  const folder = join(data, name)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  return folder
}
