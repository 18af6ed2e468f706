import { domainToASCII } from 'node:url'
import type { Capabilities, Courier, Delivery, RecipientResult } from './courier.ts'
import { DnsFault } from './dns-exchange.ts'
import { ended } from './ended.ts'
import type { Candidate, MxRoutes, Skipped } from './mx-route.ts'
import { createMxServers } from './mx-servers.ts'
import { mayHave, notDelivered, refusedHere } from './recipient-result.ts'
import { createTurns } from './turns.ts'
import { unstamped } from './unstamped.ts'

export type MxCourierParts = {
  readonly routes: MxRoutes
  readonly port: number
  /** The organization's own domains: its provider knows our stamp, and may send such a mail back to us. */
  readonly domains: () => readonly string[]
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

const UNREADABLE = 'the mail could not be read to its end'

/** Each server decides for itself; what it cannot take is refused then, for its recipients only. */
const capabilities: Capabilities = {
  ...{ smtputf8: true, eightBitMime: true, pipelining: true, size: null, offersSize: true },
  ...{ dsn: false, requireTls: true, tls: true, verified: false },
}

/** A courier that needs no relay: it hands mail to the servers of each recipient's domain. */
export function createMxCourier(parts: MxCourierParts): Courier {
  const servers = createMxServers(parts)
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
      const mail = parts.domains().includes(domain) ? delivery.mail : unstamped(delivery.mail)
      return await toServers({ ...delivery, mail }, parts.routes.candidates(route, isDemanding(delivery)))
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
