import { domainToASCII } from 'node:url'
import type { Capabilities, Courier, Delivery, RecipientResult } from './courier.ts'
import { createSmtpCourier } from './courier-smtp.ts'
import { DnsFault } from './dns-exchange.ts'
import { ended } from './ended.ts'
import type { Candidate, MxRoutes, Skipped } from './mx-route.ts'
import { notDelivered, refusedHere } from './recipient-result.ts'
import { createTurns } from './turns.ts'

export type MxCourierParts = {
  readonly routes: MxRoutes
  readonly port: number
  /** Said in EHLO: the name that this machine's address has in DNS. */
  readonly helo: string
  /** Domains that are delivered to at the same time. */
  readonly connections: number
  /** The most that one mail to one domain may take, milliseconds. */
  readonly budgetMs: number
}

/** Servers of one domain that are tried for one mail, and those among them that answer. */
const TRIES = 6
const SESSIONS = 2
/** A connection that others keep open for us is soon given back to them. */
const IDLE_MS = 5_000
/** After so long without a mail a server is forgotten. */
const FORGET_MS = 60_000

const UNREADABLE = 'the mail could not be read to its end'

/** Each server decides for itself; what it cannot take is refused then, for its recipients only. */
const capabilities: Capabilities = {
  ...{ smtputf8: true, eightBitMime: true, pipelining: true, size: null, offersSize: true },
  ...{ dsn: false, requireTls: true, tls: true, verified: false },
}

/** A courier that needs no relay: it hands mail to the servers of each recipient's domain. */
export function createMxCourier(parts: MxCourierParts): Courier {
  const servers = createServers(parts)
  const turns = createTurns(parts.connections)
  const looks = createTurns(parts.connections)
  const never = new AbortController().signal

  async function toDomain(delivery: Delivery, domain: string): Promise<readonly RecipientResult[]> {
    const end = await turns.take('', delivery.signal ?? never)
    if (end === null) return deferred(delivery, 'the delivery was given up')
    try {
      const route = await parts.routes.find(domain)
      if (route.kind === 'none') {
        return delivery.recipients.map((one) => refusedHere(one, route.code, route.enhanced, route.text))
      }
      return await toServers(delivery, parts.routes.candidates(route, isDemanding(delivery)))
    } catch (error) {
      if (error instanceof DnsFault) return deferred(delivery, `DNS does not answer: ${error.message}`, '4.4.3')
      throw error
    } finally {
      end()
    }
  }

  /** Whether one of its servers, at least, promises TLS that can be verified; then a delivery that demands it goes there. */
  async function isSafe(domain: string, signal: AbortSignal): Promise<boolean> {
    const end = await looks.take('', signal)
    if (end === null) return false
    try {
      const route = await parts.routes.find(domain)
      if (route.kind === 'none') return false
      for await (const one of parts.routes.candidates(route, true)) if (one.kind === 'candidate') return true
      return false
    } catch (error) {
      if (error instanceof DnsFault) return false
      throw error
    } finally {
      end()
    }
  }

  /** From server to server, with those recipients who surely have it from none. */
  async function toServers(
    delivery: Delivery,
    candidates: AsyncIterable<Candidate | Skipped>,
  ): Promise<readonly RecipientResult[]> {
    const until = performance.now() + parts.budgetMs
    const results = new Map<string, RecipientResult>()
    const skips: Skipped[] = []
    let left = delivery.recipients
    let tries = 0
    let sessions = 0
    for await (const candidate of candidates) {
      if (candidate.kind === 'skipped') {
        skips.push(candidate)
        continue
      }
      const found = await servers.deliver(candidate, { ...delivery, recipients: left }).catch((error: unknown) => {
        // Only where nobody has the mail yet may the whole be called undelivered.
        if (![...results.values()].some(mayHave)) throw error
        return deferred({ ...delivery, recipients: left }, UNREADABLE, '4.3.0')
      })
      for (const result of found) results.set(result.recipient, result)
      left = left.filter((recipient) => results.get(recipient)?.outcome === 'deferred')
      if (found.some(({ remote }) => remote)) sessions++
      const over = performance.now() >= until || delivery.signal?.aborted === true
      if (left.length === 0 || over || ++tries >= TRIES || sessions >= SESSIONS) break
    }
    return delivery.recipients.map((recipient) => results.get(recipient) ?? unreached(delivery, recipient, skips))
  }

  return {
    capabilities: () => capabilities,
    close: () => servers.close(),
    async safeDomains(domains, signal) {
      const found = await Promise.all(
        domains.map(async (domain) => ((await Promise.race([isSafe(domain, signal), ended(signal)])) ? [domain] : [])),
      )
      return new Set(found.flat())
    },
    async deliver(delivery) {
      const domains = [...byDomain(delivery.recipients)].map(([domain, recipients]) => ({
        domain,
        part: { ...delivery, recipients },
      }))
      const ended = await Promise.allSettled(
        domains.map(async ({ domain, part }) => (domain === null ? noDomain(part) : toDomain(part, domain))),
      )
      const told = ended.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
      const broken = ended.find((one) => one.status === 'rejected')
      if (broken !== undefined && !told.some(mayHave)) throw broken.reason
      const results = new Map(told.map((result) => [result.recipient, result]))
      return {
        results: delivery.recipients.map((one) => results.get(one) ?? notDelivered(one, UNREADABLE, '4.3.0')),
        nextHop: parts.helo,
      }
    },
  }
}

function mayHave({ outcome }: RecipientResult): boolean {
  return outcome === 'sent' || outcome === 'unknown'
}

/** Whether only a server whose TLS is verified may have it. */
function isDemanding({ tls, wishes }: Delivery): boolean {
  return tls !== undefined || wishes?.requireTls === true
}

/** Recipients by the domain that DNS is asked for; null: those who have none, such as `anna@[192.0.2.1]`. */
function byDomain(recipients: readonly string[]): Map<string | null, string[]> {
  const found = new Map<string | null, string[]>()
  for (const recipient of recipients) {
    const text = recipient.slice(recipient.lastIndexOf('@') + 1)
    const domain = recipient.includes('@') && !text.startsWith('[') ? domainToASCII(text).replace(/\.$/, '') : ''
    const key = domain === '' ? null : domain
    const known = found.get(key)
    if (known === undefined) found.set(key, [recipient])
    else known.push(recipient)
  }
  return found
}

function noDomain({ recipients }: Delivery): readonly RecipientResult[] {
  return recipients.map((one) => refusedHere(one, 550, '5.1.2', 'mail goes to domains only, not to a single machine'))
}

function deferred({ recipients }: Delivery, text: string, enhanced?: string): readonly RecipientResult[] {
  return recipients.map((recipient) => notDelivered(recipient, text, enhanced))
}

/** No server was tried. For good only where that is no passing fault of any of them. */
function unreached(delivery: Delivery, recipient: string, skips: readonly Skipped[]): RecipientResult {
  const why = skips.find(({ lasting }) => !lasting) ?? skips[0]
  if (why === undefined) return notDelivered(recipient, 'no mail exchanger could be tried', '4.4.1')
  if (!why.lasting) return notDelivered(recipient, why.text, why.enhanced)
  return refusedHere(recipient, 550, delivery.wishes?.requireTls ? '5.7.30' : why.enhanced, why.text)
}

type Server = { readonly courier: Courier; users: number; timer: NodeJS.Timeout | null }

/** Connections to servers, kept for the next mail; forgotten when none comes. */
function createServers({ port, helo, connections, budgetMs }: MxCourierParts) {
  const known = new Map<string, Server>()
  const closing = new Set<Promise<void>>()

  function serverOf({ host, address, tls }: Candidate, key: string): Server {
    const found = known.get(key)
    if (found !== undefined) return found
    const courier = createSmtpCourier({ host, address, port, helo, tls, connections, budgetMs, idleMs: IDLE_MS })
    const made: Server = { courier, users: 0, timer: null }
    known.set(key, made)
    return made
  }

  function forget(key: string, { courier }: Server): void {
    known.delete(key)
    const closed = courier.close().finally(() => closing.delete(closed))
    closing.add(closed)
  }

  return {
    async deliver(candidate: Candidate, delivery: Delivery): Promise<readonly RecipientResult[]> {
      const { host, address, tls } = candidate
      // Under another policy a kept connection would prove too little, or too much.
      const key = JSON.stringify([host, address, tls])
      const server = serverOf(candidate, key)
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
    async close(): Promise<void> {
      for (const [key, server] of [...known]) {
        if (server.timer !== null) clearTimeout(server.timer)
        forget(key, server)
      }
      await Promise.all(closing)
    },
  }
}
