import { once } from 'node:events'
import type { Accounts } from './accounts.ts'
import type { Log } from './log.ts'
import { createSessions, type SessionParts } from './session.ts'
import { StrictServer } from './smtp-connection.ts'

export type ListenerOptions = {
  /** For logs and the ready line. */
  readonly name: string
  readonly address: string
  readonly port: number
  /** Null: no TLS here at all. PEM texts. */
  readonly tls: { readonly mode: 'starttls' | 'implicit'; readonly certificate: string; readonly key: string } | null
  /** Lets clients sign in without TLS; the configuration grants it on loopback only. */
  readonly clearSignIn: boolean
  readonly recipientLimit: number
  readonly connectionLimit: number
  readonly bareNewlines: 'refuse' | 'normalise'
  readonly idleTimeoutMs: number
  /** How long a stop waits for messages under way. */
  readonly drainMs: number
}

export type Listener = {
  readonly name: string
  readonly address: string
  readonly port: number
  /** Takes no more clients, lets messages under way have their reply, then closes. */
  close(): Promise<void>
}

/** Listens for SMTP (RFC 5321). Rejects if the port cannot be had. */
export async function openListener(options: ListenerOptions, parts: SessionParts): Promise<Listener> {
  let draining = false
  const sessions = createSessions(parts)
  const server = new StrictServer({
    ...sessions,
    onData(stream, session, callback) {
      sessions.onData(stream, session, (error, message) => {
        callback(error, message)
        if (draining) setImmediate(closeIdle)
      })
    },
    name: parts.host,
    banner: 'Sealpost',
    heloResponse: '%s greets %s',
    logger: false,
    size: parts.sizeLimit,
    maxRecipients: options.recipientLimit,
    maxClients: options.connectionLimit,
    maxCommandLength: 4096,
    socketTimeout: options.idleTimeoutMs,
    closeTimeout: options.drainMs,
    disableReverseLookup: true,
    hideENHANCEDSTATUSCODES: false,
    hideDSN: true,
    authOptional: true,
    bareNewlines: options.bareNewlines,
    ...signInOptions(options, parts.accounts),
    ...tlsOptions(options),
  })

  /** A connection that waits for nothing but its client's next command. */
  function closeIdle(): void {
    for (const connection of [...server.connections]) {
      if (connection.session.envelope?.mailFrom || connection._dataStream || connection._handlerPending) continue
      connection.send(421, '4.3.2 this server is shutting down')
    }
  }

  server.on('error', (error) => logSocketError(parts.log, options.name, error))
  server.listen(options.port, options.address)
  await once(server.server, 'listening')
  const bound = server.server.address()
  return {
    name: options.name,
    address: options.address,
    port: bound !== null && typeof bound === 'object' ? bound.port : options.port,
    close() {
      draining = true
      return new Promise((resolve) => {
        server.close(() => resolve())
        closeIdle()
      })
    },
  }
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

function tlsOptions(options: ListenerOptions) {
  if (options.tls === null) return {}
  const { mode, certificate, key } = options.tls
  return { secure: mode === 'implicit', cert: certificate, key, minVersion: 'TLSv1.2' as const }
}

/** Clients that go away or fail at TLS are no failure of ours. */
function logSocketError(log: Log, listener: string, error: Error): void {
  log.info('connection failed', { listener, cause: error })
}
