import { once } from 'node:events'
import { type BlockList, createServer, type Socket } from 'node:net'
import type { Accounts } from './accounts.ts'
import { createFrontDoor, REFUSALS } from './front-door.ts'
import type { Offers } from './offers.ts'
import { authoritiesOf, type ProofRule } from './proof.ts'
import { createSessions, type SessionParts } from './session.ts'
import { type StrictOptions, StrictServer } from './smtp-connection.ts'

export type ListenerOptions = {
  /** For logs and the ready line. */
  readonly name: string
  readonly address: string
  readonly port: number
  /** Other gateways of this machine listen there, too (SO_REUSEPORT): the system spreads connections over them. */
  readonly sharedPort: boolean
  /** Null: no TLS here at all. PEM texts. */
  readonly tls: { readonly mode: 'starttls' | 'implicit'; readonly certificate: string; readonly key: string } | null
  /** Lets clients sign in without TLS; the configuration grants it on loopback only. */
  readonly clearSignIn: boolean
  /** Balancers that say in a PROXY header for whom they speak; null: none. */
  readonly proxies: BlockList | null
  readonly recipientLimit: number
  readonly connectionLimit: number
  /** Commands and messages refused for good on one connection, without one that is taken between them. */
  readonly errorLimit: number
  readonly bareNewlines: 'refuse' | 'normalise'
  readonly idleTimeoutMs: number
  /** How long a stop waits for messages under way. */
  readonly drainMs: number
}

export type Listener = {
  readonly name: string
  readonly address: string
  readonly port: number
  /** For clients who come from now on. Those who are here keep what they met. Name, address and port stay. */
  change(options: ListenerOptions, parts: SessionParts): void
  /** Takes no more clients, lets messages under way have their reply, then closes. */
  close(): Promise<void>
}

/** After a stop that waited for long enough: for the last words to be read. */
const LAST_WORDS_MS = 500

/** Listens for SMTP (RFC 5321). Rejects if the port cannot be had. */
export async function openListener(options: ListenerOptions, parts: SessionParts): Promise<Listener> {
  const door = createFrontDoor()
  let now = createDesk(options, parts)
  const desks = new Set([now])
  const server = createServer((socket: Socket) => door.meet(socket, now.doorway))
  server.maxConnections = roomFor(options)
  server.listen({ port: options.port, host: options.address, reusePort: options.sharedPort })
  await once(server, 'listening')
  server.on('error', (cause) => parts.log.error('listener failed', { listener: options.name, cause }))
  const bound = server.address()
  return {
    name: options.name,
    address: options.address,
    port: bound !== null && typeof bound === 'object' ? bound.port : options.port,
    change(changed, changedParts) {
      for (const desk of desks) if (desk.server.connections.size === 0) desks.delete(desk)
      now = createDesk(changed, changedParts)
      desks.add(now)
      server.maxConnections = roomFor(changed)
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      door.clear()
      for (const desk of desks) desk.drain()
      await Promise.race([closed, pause(now.drainMs)])
      for (const desk of desks) desk.end()
      await Promise.race([closed, pause(LAST_WORDS_MS)])
    },
  }
}

/** One configuration of a listener, and the clients who met it. */
function createDesk(options: ListenerOptions, parts: SessionParts) {
  let draining = false
  const sessions = createSessions(parts)
  const settings: StrictOptions = {
    ...sessions,
    onData(stream, session, callback) {
      sessions.onData(stream, session, (error, message) => {
        callback(error, message)
        if (draining) setImmediate(sendIdleAway)
      })
    },
    name: parts.host,
    banner: 'Sealpost',
    heloResponse: '%s greets %s',
    logger: false,
    maxRecipients: options.recipientLimit,
    maxCommandLength: 4096,
    socketTimeout: options.idleTimeoutMs,
    commandTimeoutMs: options.idleTimeoutMs,
    errorLimit: options.errorLimit,
    onClientError: ({ remoteAddress }) => parts.limits.error({ listener: options.name, address: remoteAddress }),
    disableReverseLookup: true,
    hideENHANCEDSTATUSCODES: false,
    hideDSN: false,
    authOptional: true,
    bareNewlines: options.bareNewlines,
    ...signInOptions(options, parts.accounts),
    ...tlsOptions(options, parts.rules),
  }
  const server = new StrictServer(announceWith(settings, parts.offers))
  // Clients that go away or fail at TLS are no failure of ours.
  server.on('error', (cause) => parts.log.info('connection failed', { listener: options.name, cause }))

  /** Those who wait for nothing but their own next command. */
  function sendIdleAway(): void {
    for (const connection of [...server.connections]) {
      if (connection.session.envelope?.mailFrom || connection._dataStream || connection._handlerPending) continue
      connection.send(421, '4.3.2 this server is shutting down')
    }
  }

  const { connectionLimit, proxies, tls, drainMs } = options
  const { limits, log, metrics } = parts
  const implicitTls = tls?.mode === 'implicit'
  return {
    doorway: { listener: options.name, connectionLimit, proxies, implicitTls, limits, log, metrics, server },
    server,
    drainMs,
    drain() {
      draining = true
      // It listens to nothing: what this does is to answer 421 to every further command.
      server.close()
      sendIdleAway()
    },
    end() {
      for (const connection of [...server.connections]) connection.send(421, '4.3.2 this server is shutting down')
    },
  }
}

/** Connections beyond it end before anything is made for them. */
function roomFor(options: ListenerOptions): number {
  return options.connectionLimit + 2 * REFUSALS
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

/** The library asks again at each EHLO, and what next hops offer is known better as time goes by. */
function announceWith(settings: StrictOptions, offers: Offers): StrictOptions {
  const asked = (get: () => unknown) => ({ get, enumerable: true })
  return Object.defineProperties(settings, {
    size: asked(() => offers.any().size),
    hideSMTPUTF8: asked(() => !offers.any().smtpUtf8),
    hide8BITMIME: asked(() => !offers.any().eightBit),
    hideREQUIRETLS: asked(() => offers.any().requireTls !== true),
  })
}

function signInOptions(options: ListenerOptions, accounts: Accounts | null) {
  const never = ['WIZ', 'SHELL', 'KILL', 'XCLIENT', 'XFORWARD', 'HELP']
  const possible = accounts !== null && (options.tls !== null || options.clearSignIn)
  return {
    authMethods: ['PLAIN', 'LOGIN'],
    allowInsecureAuth: options.clearSignIn,
    disabledCommands: [...never, ...(possible ? [] : ['AUTH']), ...(options.tls === null ? ['STARTTLS'] : [])],
  }
}

function tlsOptions(options: ListenerOptions, rules: readonly ProofRule[]) {
  if (options.tls === null) return {}
  const { mode, certificate, key } = options.tls
  const ca = authoritiesOf(rules).map(String)
  // A client without a certificate, or with one of another authority, is served as far as something else proves who it is.
  const asked = ca.length === 0 ? {} : { requestCert: true, rejectUnauthorized: false, ca }
  return { secure: mode === 'implicit', cert: certificate, key, minVersion: 'TLSv1.2' as const, ...asked }
}
