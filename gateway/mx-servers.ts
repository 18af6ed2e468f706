import { type Breaker, createBreaker } from './breaker.ts'
import type { Courier, Delivery, RecipientResult } from './courier.ts'
import { createSmtpCourier } from './courier-smtp.ts'
import type { Candidate } from './mx-route.ts'
import { notDelivered } from './recipient-result.ts'
import { watchCourier } from './watched.ts'

/** A connection that others keep open for us is soon given back to them. */
const IDLE_MS = 5_000
/** After so long without a mail a server is forgotten. */
const FORGET_MS = 60_000

/** So many mails in a row that a server did not answer, and the next ones do not wait for it; in so many milliseconds one may find out. */
const AWAY = { failures: 2, probeMs: 15_000 }

type Server = { readonly courier: Courier; readonly breaker: Breaker; users: number; timer: NodeJS.Timeout | null }

/** The servers of domains, with connections kept for the next mail. */
export type MxServers = {
  /** One mail over one server's connection. Rejects as a courier does. */
  deliver(candidate: Candidate, delivery: Delivery): Promise<readonly RecipientResult[]>
  close(): Promise<void>
}

export type MxServersParts = {
  readonly port: number
  /** Said in EHLO. */
  readonly helo: string
  /** To one server at the same time. */
  readonly connections: number
  readonly budgetMs: number
}

export function createMxServers({ port, helo, connections, budgetMs }: MxServersParts): MxServers {
  const known = new Map<string, Server>()
  const closing = new Set<Promise<void>>()

  function serverOf({ host, address, tls }: Candidate, key: string): Server {
    const found = known.get(key)
    if (found !== undefined) return found
    const bySmtp = createSmtpCourier({ host, address, port, helo, tls, connections, budgetMs, idleMs: IDLE_MS })
    const breaker = createBreaker(AWAY)
    const made: Server = { courier: watchCourier(bySmtp, breaker), breaker, users: 0, timer: null }
    known.set(key, made)
    return made
  }

  function forget(key: string, { courier }: Server): void {
    known.delete(key)
    const closed = courier.close().finally(() => closing.delete(closed))
    closing.add(closed)
  }

  return {
    async deliver(candidate, delivery) {
      const { host, address, tls } = candidate
      // Under another policy a kept connection would prove too little, or too much.
      const key = JSON.stringify([host, address, tls])
      const server = serverOf(candidate, key)
      if (!server.breaker.allows()) {
        return delivery.recipients.map((one) => notDelivered(one, `${host} did not answer a moment ago`, '4.4.1'))
      }
      if (server.timer !== null) clearTimeout(server.timer)
      server.users++
      try {
        const { tls: demand, ...rest } = delivery
        // Beyond the recipient's own server there is no further hop to promise anything.
        const towards: Delivery = demand === undefined ? rest : { ...rest, tls: 'next-hop' }
        const { results } = await server.courier.deliver(towards)
        const dsn = server.courier.capabilities()?.dsn === true
        return results.map((result) => ({
          ...result,
          ...(dsn ? { dsn } : {}),
          ...(result.remote ? { hop: host } : {}),
        }))
      } finally {
        server.users--
        if (server.users === 0) server.timer = setTimeout(() => forget(key, server), FORGET_MS).unref()
      }
    },
    async close() {
      for (const [key, server] of [...known]) {
        if (server.timer !== null) clearTimeout(server.timer)
        forget(key, server)
      }
      await Promise.all(closing)
    },
  }
}
