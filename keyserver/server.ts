import { createHash, randomBytes } from 'node:crypto'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { ConfigError } from '../protocol/config-document.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { openTelemetry } from '../telemetry/index.ts'
import type { TimeSource } from './clock.ts'
import type { Config, Listener, Organization } from './config.ts'
import { createGatewayApp } from './gateway-app.ts'
import { examine } from './health.ts'
import { createJournal, nobody } from './journal.ts'
import { openKeys } from './keys.ts'
import { createMetrics } from './metrics.ts'
import { createOpsApp } from './ops.ts'
import type { Parts } from './parts.ts'
import { openPolicies } from './policies.ts'
import { createPublicApp, type PublicOptions } from './public.ts'
import { createRoom, type Room, type RoomState } from './room.ts'
import { createRounds, type Rounds } from './rounds.ts'
import { createShredder } from './shredder.ts'
import { openSqliteStore } from './store-sqlite.ts'
import { createTimekeeper, keepTime, openClock } from './timekeeper.ts'

export type ServerOptions = {
  readonly time: TimeSource
  readonly log: FastifyBaseLogger
  readonly version: string
  /** Where the reader's files lie, if not in their own folder. */
  readonly reader?: PublicOptions
}

export type Server = {
  /** What each listener is bound to. */
  readonly addresses: { readonly public: string; readonly gateways: string; readonly ops: string }
  readonly parts: Parts
  /** One round of the shredder, now. */
  shred(): Promise<void>
  /** Answers what is under way, writes what is left to write. */
  close(): Promise<void>
}

/** Builds the key server from its parts and listens. Throws, with everything closed again, if a part cannot be had. */
export async function startServer(config: Config, options: ServerOptions): Promise<Server> {
  const { log, time } = options
  const host = new URL(config.public.url).host
  const room = createRoom({ ...config.disk, database: config.database })
  const store = await openSqliteStore({ file: config.database, host, room })
  const tracer = await openTelemetry(config.telemetry, (message) => log.warn(message))
  const open: { close(): Promise<unknown> }[] = [tracer, store]
  const closeAll = async () => {
    for (const one of open.toReversed()) await one.close()
  }
  try {
    await room.look()
    const keyring = await openKeys(config, store)
    const clock = await openClock(store, time)
    const journal = createJournal(store, keyring, clock.highest())
    // The configuration's keys are organization ids: it is checked for it.
    const organizations = new Map(Object.entries(config.organizations) as [OrgId, Organization][])
    const policies = await openPolicies({ folder: config.policies, organizations, store, journal, clock, log })
    const parts: Parts = { config, store, keyring, journal, clock, policies, metrics: createMetrics(), log }
    const shredder = createShredder(parts)
    const rounds = createRounds(log)
    const instance = await recordStart(parts, options.version)
    open.push({ close: () => recordStop(parts, instance) })

    const apps = {
      ops: await createOpsApp(parts, () => examine({ ...parts, policies, rounds, room })),
      gateways: await createGatewayApp(parts, tracer),
      public: await createPublicApp(parts, { ...options.reader, tracer }),
    }
    open.push(apps.ops, apps.gateways, apps.public)
    startRounds(parts, room, rounds, shredder.run)
    open.push({ close: () => rounds.stop() }, { close: () => policies.stop() })
    policies.follow()
    const addresses = {
      public: await listen(apps.public, config.public, 'public'),
      gateways: await listen(apps.gateways, config.gatewayListener, 'gatewayListener'),
      ops: await listen(apps.ops, config.ops, 'ops'),
    }
    return { addresses, parts, shred: () => shredder.run(), close: closeAll }
  } catch (cause) {
    await closeAll()
    throw cause
  }
}

function startRounds(
  { store, journal, clock, keyring, log }: Parts,
  room: Room,
  rounds: Rounds,
  shred: () => Promise<void>,
): void {
  const lookAtClock = createTimekeeper(store, journal, clock)
  let last: RoomState['kind'] = 'good'
  const lookAtRoom = async () => {
    await room.look()
    const state = room.state()
    if (state.kind === 'short' && last === 'good') log.error({ because: state.because }, 'room is short')
    if (state.kind === 'good' && last === 'short') log.info('there is room again')
    last = state.kind
  }
  rounds.every(1_000, 'checkpoint', () => store.checkpoint((origin) => keyring.signer.forLog(origin)))
  rounds.every(1_000, 'room', lookAtRoom)
  rounds.every(1_000, 'database', () => store.ping())
  rounds.every(5_000, 'clock', lookAtClock)
  rounds.every(10_000, 'shredder', shred)
  rounds.every(60_000, 'sweep', () =>
    store.transact(async (tx) => {
      const now = clock.now()
      await tx.challenges.sweep(now)
      await tx.sessions.sweep(now)
      await tx.counters.sweep(now)
      await tx.envelopes.forgetRetries(now - 6 * 86_400_000)
    }, 'upkeep'),
  )
}

async function listen(app: FastifyInstance, { host, port }: Listener, name: string): Promise<string> {
  try {
    return await app.listen({ host, port })
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : null
    if (code === 'EADDRINUSE')
      throw new ConfigError([`${name} > port: ${port} on ${host} is in use; end what uses it, or choose another`])
    if (code === 'EACCES')
      throw new ConfigError([`${name} > port: this account may not listen on port ${port}; choose one above 1023`])
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
      throw new ConfigError([`${name} > host: ${host} is not an address of this machine`])
    throw cause
  }
}

async function recordStart({ store, journal, clock, config }: Parts, version: string): Promise<string> {
  const instance = randomBytes(16).toString('base64url')
  const { mail, ...rest } = config
  const shown = JSON.stringify([rest, mail], (key, value: unknown) => (SECRET.has(key) ? undefined : value))
  const digest = createHash('sha256').update(shown).digest('base64url')
  const now = clock.now()
  const time = new Date(now).toISOString()
  await store.transact(async (tx) => {
    await tx.changes.beginAfter(now)
    journal.append(tx, 'server', nobody, () => ({
      kind: 'server-start',
      time,
      request: null,
      version,
      instance,
      config: digest,
    }))
  }, 'upkeep')
  return instance
}

/** No digest of a secret goes into the log. */
const SECRET: ReadonlySet<string> = new Set(['key', 'password'])

async function recordStop({ store, journal, clock, keyring, log }: Parts, instance: string): Promise<void> {
  try {
    const time = new Date(clock.now()).toISOString()
    await store.transact(async (tx) => {
      await keepTime(tx, clock)
      journal.append(tx, 'server', nobody, () => ({
        kind: 'server-stop',
        time,
        request: null,
        instance,
        reason: 'stopped',
      }))
    }, 'upkeep')
    await store.checkpoint((origin) => keyring.signer.forLog(origin))
  } catch (cause) {
    log.error({ err: cause }, 'the stop could not be written into the log')
  }
}
