import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import type { Server } from 'node:http'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { openTelemetry } from '../telemetry/index.ts'
import { createAccounts } from './accounts.ts'
import { composeBounce } from './bounce.ts'
import { createBreaker } from './breaker.ts'
import { createChanges } from './changes.ts'
import { createComposer } from './compose.ts'
import type { Config } from './config.ts'
import { createFolderCopies } from './copies.ts'
import { createCopiesServer } from './copies-http.ts'
import { nextHopOf } from './courier-smtp.ts'
import { createDispatch } from './dispatch.ts'
import { createEgress } from './egress.ts'
import { holdPlaceIn, openHoldFolder } from './hold-folder.ts'
import { holdReasons, renderHolds } from './hold-metrics.ts'
import { openHolds } from './holds.ts'
import { createKeyServer } from './key-server.ts'
import { createLimits } from './limits.ts'
import { createListeners, type Wanted } from './listeners.ts'
import type { Log } from './log.ts'
import { createMetrics } from './metrics.ts'
import { createMtlsClient } from './mtls-client.ts'
import { loadNoticeTemplates } from './notice-template.ts'
import { createOffers } from './offers.ts'
import { createOpsServer } from './ops.ts'
import type { Organization } from './organization.ts'
import { openOrganizations } from './organizations.ts'
import { keepOutcomes } from './outcome-keeper.ts'
import { createPolicyCache } from './policy-cache.ts'
import { startPolling } from './polling.ts'
import { createProviderAccounts } from './provider-accounts.ts'
import { openQueueControl, type QueueControl } from './queue-control.ts'
import { createRoom } from './room.ts'
import { greetScanners } from './scanning.ts'
import { createSealing } from './sealing.ts'
import { createSigningKeyRing } from './signing-keys.ts'
import { openSpool, type Spool } from './spool.ts'
import { openSpoolFolder } from './spool-folder.ts'
import { spoolLanes } from './spool-lanes.ts'
import { renderSpool, spoolReasons } from './spool-metrics.ts'
import { createSystemMail } from './system-mail.ts'
import { traceKeyServer, traceSealing, traceSpool } from './traced.ts'
import { watchClient } from './watched.ts'

export type Gateway = {
  /** What listens where, by name. */
  readonly addresses: readonly { readonly name: string; readonly address: string; readonly port: number }[]
  /**
   * Another configuration from now on: listeners, limits, and all that an organization's entry says. New clients and new mail meet it, what is under
   * way ends as it began. What {@link startReloading} tells to be fixed must be the same. Rejects, with all as before, if a port cannot be had.
   */
  reload(next: Config): Promise<void>
  /** Takes no more mail, lets what is under way have its reply, then closes everything. */
  close(): Promise<void>
}

/** The whole process from its configuration: a list of parts. Rejects if a folder cannot be written or a port cannot be had. */
export async function startGateway(config: Config, log: Log, now: () => Date = () => new Date()): Promise<Gateway> {
  const folderOf = async (name: string) => {
    const folder = join(config.data, name)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return folder
  }
  const scratch = await folderOf('scratch')
  const room = createRoom(config.limits.memory)
  const metrics = createMetrics()
  const tracer = await openTelemetry(config.telemetry, (message) => log.warn(message))
  const keyServerBreaker = createBreaker(BREAKER)
  const client = watchClient(createMtlsClient(config.keyServer), keyServerBreaker)
  let spool: Spool | null = null
  const providers = new Map(
    config.organizations.map(({ id }) => [
      id,
      createBreaker({ ...BREAKER, onClosed: () => tracer.apart(() => spool?.wake(id)) }),
    ]),
  )
  // From confirm to the last outcome a delivery that a client waits for takes no longer than the budget.
  const leaseSeconds = Math.ceil(config.limits.budgetMs / 1000) + 10
  const keyServer = keepOutcomes(traceKeyServer(createKeyServer(client, tracer), tracer), {
    leaseSeconds,
    everyMs: 500,
    log,
  })
  const ids = config.organizations.map((org) => org.id)
  const policies = await createPolicyCache({ organizations: ids, folder: await folderOf('policies'), keyServer, log })
  const copies = await createFolderCopies(config.copies.folder)
  const keys = createSigningKeyRing(() => keyServer.keys())
  const templates = await loadNoticeTemplates()
  const egress = createEgress({
    templates,
    alarm(violation) {
      metrics.alarm()
      log.error('the last look stopped a mail', { incident: violation.incident, cause: violation })
    },
  })
  const organizationParts = {
    ...{ data: config.data, budgetMs: config.limits.budgetMs, egress, metrics, tracer, log },
    domainsOf: (org: Organization['id']) => policies.get(org)?.domains ?? null,
    breakerOf: (org: Organization['id']) => providers.get(org) ?? createBreaker(BREAKER),
  }
  const organizations = await openOrganizations(config.organizations, organizationParts)
  const carryLimit = Math.min(...[...organizations.values()].map((org) => org.carryLimit))

  const connections = new Map<string, number>(config.organizations.map(({ id, nextHop }) => [id, nextHop.connections]))
  const spooling = await openSpool({
    ...config.spool,
    ...{ host: config.name, organizations, keyServer, copies, providers, keyServerBreaker, metrics, log, now },
    folder: await openSpoolFolder(config.spool),
    leaseMs: config.limits.budgetMs,
    // The rest of the connections is for mail whose client waits for the delivery.
    lanes: (org) => spoolLanes(connections.get(org) ?? 20, metrics.inFlight()),
  })
  spool = spooling
  const preparing = {
    sealing: traceSealing(
      await createSealing({ folder: join(config.copies.folder, 'sealing'), carryLimit, room }),
      tracer,
    ),
    composer: createComposer(templates),
    ...{ egress, copies, spool: traceSpool(spooling, tracer), log, now },
  }
  const holds = await openHolds({
    ...preparing,
    ...{ organizations, keyServer },
    folder: await openHoldFolder({ ...holdPlaceIn(config.data), reserve: config.spool.reserve }),
  })
  const changes = createChanges({ folder: config.data, keyServer, copies, holds, log })
  const dispatch = createDispatch({
    ...preparing,
    host: config.name,
    organizations,
    policies,
    keyServer,
    systemMail: createSystemMail({ keys, now }),
    tracer,
    composeBounce,
    holds,
    metrics,
  })

  await policies.poll()
  const polling = startPolling(async () => {
    await policies.poll()
    await changes.poll()
    await holds.poll()
  }, config.keyServer.pollMs)

  const limits = createLimits(config.limits.rates)
  const wantedOf = (current: Config): Wanted[] => {
    const { domainsOf } = organizationParts
    const { received, dataMs, budgetMs, size } = current.limits
    const offers = createOffers({ organizations, policyOf: (org) => policies.get(org), sizeLimit: size })
    const shared = { host: config.name, room, folder: scratch, domainsOf, limits, offers, log, metrics, tracer, now }
    const times = { receivedLimit: received, dataTimeoutMs: dataMs, budgetMs }
    const hops = new Map(
      current.organizations.flatMap(({ id, nextHop }) =>
        nextHop.kind === 'relay' ? [[id, nextHopOf(nextHop)] as const] : [],
      ),
    )
    const atProvider = createProviderAccounts({ hops, domainsOf, timeoutMs: SIGN_IN_MS })
    return current.listeners.map(({ options, delivery, rules, accounts }) => {
      const signIn = accounts === null ? null : createAccounts(accounts.list, accounts.provider ? atProvider : null)
      const unavailable = (org: Organization['id']) => {
        if (!keyServerBreaker.allows()) return 'key-server'
        return delivery === 'inline' && providers.get(org)?.allows() === false ? 'provider' : null
      }
      const own = { listener: options.name, rules, accounts: signIn, accept: dispatch(delivery), unavailable }
      return { options, parts: { ...shared, ...times, ...own } }
    })
  }
  const copiesServer = createCopiesServer({
    copies,
    findKey: (kid) => keys.find(kid),
    origins: config.copies.origins,
    limit: 256,
    now,
    onFailure: (incident, cause) => log.error('a sealed copy was not given', { incident, cause }),
  })
  const opsServer = createOpsServer({
    metrics: () => metrics.render() + renderSpool(spooling.stats(), now()) + renderHolds(holds.stats(), now()),
    reasons: () => [
      ...reasonsOf(keyServer, organizations, policies),
      ...spoolReasons(spooling.stats()),
      ...holdReasons(holds.stats()),
    ],
  })

  const listeners = createListeners(log)
  let control: QueueControl | null = null
  const addresses: { name: string; address: string; port: number }[] = []
  const closing = new AbortController()
  const close = async () => {
    closing.abort()
    await listeners.close()
    holds.stop()
    await polling.stop()
    await control?.close()
    await spooling.close()
    await Promise.all([...organizations.values()].map((org) => org.courier.close()))
    await Promise.all([closeServer(copiesServer), closeServer(opsServer), keyServer.close()])
    copies.close()
    client.close()
    await tracer.close()
  }
  try {
    await listeners.follow(wantedOf(config))
    control = await openQueueControl(join(config.data, 'queue.json'), spooling)
    addresses.push(await listen(copiesServer, 'copies', config.copies))
    addresses.push(await listen(opsServer, 'ops', config.ops))
  } catch (error) {
    await close()
    throw error
  }
  void greetScanners(config.organizations, log, closing.signal)
  let running = config
  const reload = async (next: Config) => {
    const changed = next.organizations.filter(
      (org) =>
        !isDeepStrictEqual(
          org,
          running.organizations.find(({ id }) => id === org.id),
        ),
    )
    const renewed = await openOrganizations(changed, organizationParts)
    try {
      await listeners.follow(wantedOf(next))
    } catch (error) {
      await Promise.all([...renewed.values()].map((org) => org.courier.close()))
      throw error
    }
    running = next
    limits.configure(next.limits.rates)
    client.renew(next.keyServer)
    for (const [id, org] of renewed) {
      const old = organizations.get(id)
      organizations.set(id, org)
      // Mail under way ends on the old courier, however long that takes.
      void old?.courier.close()
    }
  }
  return {
    get addresses() {
      return [...listeners.addresses(), ...addresses]
    },
    reload,
    close,
  }
}

/** For the provider's word on one password. */
const SIGN_IN_MS = 20_000

/** So many failures in a row, and clients are told at MAIL; in so many milliseconds one may find out. */
const BREAKER = { failures: 3, probeMs: 1_000 }

function reasonsOf(
  keyServer: { reachable(): boolean },
  organizations: ReadonlyMap<Organization['id'], Organization>,
  policies: { get(org: Organization['id']): unknown },
): string[] {
  const all = [...organizations.values()]
  const unknown = all.filter(({ id }) => policies.get(id) === null)
  const blind = all.filter(({ scanner }) => scanner?.answers() === false)
  return [
    ...(keyServer.reachable() ? [] : ['the key server does not answer']),
    ...unknown.map(({ id }) => `no policy is known for ${id}`),
    ...blind.map(({ id }) => `the scanner for ${id} does not answer`),
  ]
}

async function listen(server: Server, name: string, { host, port }: { readonly host: string; readonly port: number }) {
  server.listen(port, host)
  await once(server, 'listening')
  const bound = server.address()
  return { name, address: host, port: bound !== null && typeof bound === 'object' ? bound.port : port }
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = once(server, 'close')
  server.close()
  server.closeIdleConnections()
  await closed
}
