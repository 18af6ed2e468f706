import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { ReportAction } from './bounce-words.ts'
import type { Breaker } from './breaker.ts'
import type { OutgoingMail, RecipientResult } from './courier.ts'
import { GatewayError } from './error.ts'
import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import { notDelivered, refusedHere } from './recipient-result.ts'
import { attemptEntry, type Fates, fateOf, outcomeOf } from './spool-attempt.ts'
import { firstState, nextAttempt, type Pauses, type SpoolEntry, type SpoolState, type Waiting } from './spool-entry.ts'
import type { SpoolFolder } from './spool-folder.ts'
import { createSpoolLine } from './spool-line.ts'
import { noticeFor, type Subject } from './spool-notice.ts'
import { settleSpooled } from './spool-settlement.ts'

/** Mail that was answered 250 and is not delivered yet: kept until it is delivered, bounced or taken back. */
export type Spool = {
  /** Durable when it resolves, and then tried. Rejects with `disk-full`, or with whatever the mail's stream fails with; nothing is kept then. */
  put(entry: SpoolEntry, mail: OutgoingMail, known: Known): Promise<void>
  /** Puts a notice to the sender in, where one is wished; durable when it resolves. */
  tell(subject: Subject, org: Organization, action: ReportAction, results: readonly RecipientResult[]): Promise<void>
  /** Whether this copy is here, so that nobody else need deliver it. */
  holds(envelope: EnvelopeId, address: Address): boolean
  /** The provider of an organization answers again. */
  wake(org: OrgId): void
  stats(): SpoolStats
  /** Tries now, those on hold too; null: all. How many. */
  flush(id: string | null): number
  /** Not tried until flushed, and kept for as long as that takes. */
  hold(id: string): Promise<boolean>
  /** Taken out for good; `bounce` tells the sender. `busy` while it is being delivered. */
  drop(id: string, bounce: boolean): Promise<'dropped' | 'busy' | 'unknown'>
  /** Ends what is under way after a grace; what is left is tried after the next start. */
  close(): Promise<void>
}

/** What is known of an entry when it is put in. */
export type Known =
  /** It was confirmed just now; nothing was sent. */
  | { readonly kind: 'confirmed' }
  /** A delivery has ended so for its recipients. */
  | { readonly kind: 'ended'; readonly fates: Fates }
  /** A delivery waits for the answer to its dot. `stop` ends that wait. */
  | { readonly kind: 'under-way'; readonly ending: Promise<Fates>; readonly stop: () => void }

export type SpoolStats = {
  readonly entries: number
  readonly octets: number
  readonly held: number
  /** Files that cannot be read. */
  readonly damaged: number
  /** The disk has so little room left that no more is taken in. */
  readonly full: boolean
  /** Milliseconds since 1970; null while it is empty. */
  readonly oldestAt: number | null
}

export type SpoolOptions = {
  readonly lifeMs: number
  readonly delayNoticeMs: number
  readonly pauses: Pauses
  /** How long a confirmation keeps other attempts away, milliseconds. */
  readonly leaseMs: number
}

export type SpoolParts = SpoolOptions & {
  readonly host: string
  readonly folder: SpoolFolder
  readonly organizations: ReadonlyMap<OrgId, Organization>
  readonly keyServer: Pick<KeyServer, 'confirm' | 'outcome'>
  /** Of the provider of each organization, and of the key server. */
  readonly providers: ReadonlyMap<OrgId, Breaker>
  readonly keyServerBreaker: Breaker
  /** Deliveries at a time for one organization. */
  readonly lanes: (org: OrgId) => number
  readonly metrics: Pick<Metrics, 'outcome'>
  readonly log: Log
  readonly now: () => Date
}

/** One entry in memory. */
type Live = {
  readonly entry: SpoolEntry
  readonly size: number
  state: SpoolState
  busy: boolean
  /** Until then it needs no confirmation, by the clock. */
  confirmedUntil: number
  /** Of a delay, where it may still be here. */
  notice: string | null
}

/** How long a stop waits for deliveries under way, milliseconds. */
const GRACE_MS = 5_000

/** Takes up what an earlier run left. */
export async function openSpool(parts: SpoolParts): Promise<Spool> {
  const { folder, log } = parts
  const live = new Map<string, Live>()
  const byEnvelope = new Map<EnvelopeId, Set<Live>>()
  const stopping = new AbortController()
  const following = new Set<Promise<void>>()
  let damaged = 0
  let full = false
  const time = () => parts.now().getTime()
  const line = createSpoolLine<Live>({
    lanes: (org) => parts.lanes(org as OrgId),
    allows: (org) => parts.keyServerBreaker.allows() && (parts.providers.get(org as OrgId)?.allows() ?? false),
    run,
  })

  function add(one: Live): void {
    const { entry } = one
    live.set(entry.id, one)
    if (entry.envelope !== null) byEnvelope.set(entry.envelope, (byEnvelope.get(entry.envelope) ?? new Set()).add(one))
  }

  async function remove(one: Live): Promise<void> {
    const { id, org, envelope } = one.entry
    live.delete(id)
    line.remove(org, one)
    const shared = envelope === null ? undefined : byEnvelope.get(envelope)
    shared?.delete(one)
    if (envelope !== null && shared?.size === 0) byEnvelope.delete(envelope)
    await folder.remove(id)
    const notice = one.notice === null ? undefined : live.get(one.notice)
    // Nobody need be told of a delay that is over.
    if (notice !== undefined && !notice.busy) await remove(notice)
  }

  /** One turn of one entry. Never rejects. */
  async function run(one: Live): Promise<void> {
    const { entry, state } = one
    const org = parts.organizations.get(entry.org)
    if (one.busy || org === undefined || !live.has(entry.id)) return
    one.busy = true
    const confirmed = state.attempts === 0 && one.confirmedUntil > performance.now()
    const waiting = state.waiting.filter(({ settled }) => settled === null)
    const open = () => folder.mail(entry.id)
    try {
      const order = { org, entry, waiting, open, signal: stopping.signal, confirmed }
      const fates = waiting.length === 0 ? new Map() : await attemptEntry(parts, order)
      await settle(one, org, fates)
    } catch (cause) {
      // The key server cannot be asked; or our own disk fails us, and then the next attempt finds out what was done.
      log.warn('a spooled message waits', { org: entry.org, intake: entry.intake, file: entry.id, cause })
      await putOff(one)
    } finally {
      one.busy = false
    }
  }

  async function putOff(one: Live): Promise<void> {
    one.state = { ...one.state, nextAt: nextAttempt(1, time(), parts.pauses, Math.random()) }
  }

  /** What an attempt came to: first the sender's notices, then the key server, then what is left. */
  async function settle(one: Live, org: Organization, fates: Fates): Promise<void> {
    const { entry } = one
    const now = time()
    const over = now - Date.parse(entry.arrivedAt) >= parts.lifeMs ? words(parts.lifeMs) : null
    const { waiting } = one.state
    const settlement = settleSpooled(waiting, fates, over)
    if (entry.kind === 'message') {
      await tell(entry, org, 'failed', settlement.failed)
      if (org.courier.capabilities()?.dsn !== true) await tell(entry, org, 'relayed', settlement.sent)
    }
    const untold = await report(entry, waiting, settlement.fates)
    const attempts = one.state.attempts + 1
    const nextAt = nextAttempt(attempts, now, parts.pauses, Math.random())
    one.state = { ...one.state, attempts, nextAt, waiting: [...settlement.again, ...untold] }
    const ended = {
      ...{ org: entry.org, intake: entry.intake },
      count: attempts,
      ms: now - Date.parse(entry.arrivedAt),
    }
    if (one.state.waiting.length > 0) {
      await folder.note(entry.id, one.state, { durable: untold.length > 0 || settlement.fates.size > 0 })
      log.info('a spooled message is tried again', { ...ended, recipients: one.state.waiting.length })
      return
    }
    await remove(one)
    const { sent, failed } = settlement
    log.info('a spooled message is done', {
      ...ended,
      outcome: failed.length > 0 ? 'failed' : 'sent',
      recipients: sent.length,
    })
  }

  /** Tells the key server; gives those of whom it could not be told. */
  async function report(entry: SpoolEntry, waiting: readonly Waiting[], fates: Fates): Promise<readonly Waiting[]> {
    const untold = await Promise.all(
      waiting.map(async (one): Promise<readonly Waiting[]> => {
        const fate = fates.get(one.address)
        const early = one.settled === null ? null : { outcome: one.settled, reply: '250 2.0.0 told late' }
        const said = fate === undefined ? early : outcomeOf(fate)
        if (said === null) return []
        if (fate !== undefined) parts.metrics.outcome(said.outcome, 1)
        if (entry.envelope === null) return []
        const final = said.outcome === 'sent' || said.outcome === 'failed' ? said.outcome : null
        try {
          await parts.keyServer.outcome({ org: entry.org, id: entry.envelope, recipient: one.address, ...said })
          return []
        } catch (cause) {
          log.warn('an outcome waits in the spool', { org: entry.org, intake: entry.intake, cause })
          return final === null ? [] : [{ ...one, settled: final }]
        }
      }),
    )
    return untold.flat()
  }

  async function tell(
    subject: Subject,
    org: Organization,
    action: ReportAction,
    results: readonly RecipientResult[],
    until?: Date,
  ): Promise<string | null> {
    const times = until === undefined ? { now: parts.now() } : { now: parts.now(), until }
    const notice = noticeFor(subject, { org, host: parts.host, action, results, ...times })
    if (notice === null) return null
    if (!live.has(notice.entry.id)) await put(notice.entry, notice.mail, { kind: 'confirmed' })
    return notice.entry.id
  }

  async function put(entry: SpoolEntry, mail: OutgoingMail, known: Known): Promise<void> {
    if (stopping.signal.aborted) throw new GatewayError('internal', { message: 'the spool is closed' })
    const size = await folder.add(entry, mail.open())
    const confirmedUntil = performance.now() + parts.leaseMs
    const one: Live = { entry, size, state: firstState(entry, time()), busy: false, confirmedUntil, notice: null }
    add(one)
    if (known.kind === 'confirmed') line.push(entry.org, one)
    else await follow(one, known)
  }

  /** Resolves at once where the end is still to come. */
  async function follow(one: Live, known: Exclude<Known, { kind: 'confirmed' }>): Promise<void> {
    const org = parts.organizations.get(one.entry.org)
    if (org === undefined) return
    one.busy = true
    const end = async () => {
      try {
        await settle(one, org, known.kind === 'ended' ? known.fates : await known.ending)
      } catch (cause) {
        log.warn('a spooled message waits', { org: org.id, intake: one.entry.intake, cause })
        await putOff(one)
      } finally {
        one.busy = false
      }
    }
    const stop = known.kind === 'ended' ? null : known.stop
    if (stop !== null) stopping.signal.addEventListener('abort', stop)
    const ended = end().finally(() => {
      following.delete(ended)
      if (stop !== null) stopping.signal.removeEventListener('abort', stop)
    })
    following.add(ended)
    if (known.kind === 'ended') await ended
  }

  /** Every second: who is due, who is late, whose life is over. */
  function tick(): void {
    const now = time()
    folder.isFull().then(
      (is) => {
        full = is
      },
      (cause) => log.error('the disk of the spool cannot be asked', { cause }),
    )
    for (const one of live.values()) {
      if (one.busy) continue
      const age = now - Date.parse(one.entry.arrivedAt)
      if (age >= parts.delayNoticeMs && !one.state.delayTold) void tellDelay(one)
      if (one.state.held) continue
      if (age >= parts.lifeMs) void endLife(one)
      else if (one.state.nextAt <= now) line.push(one.entry.org, one)
    }
    line.pump()
  }

  async function tellDelay(one: Live): Promise<void> {
    const { entry, state } = one
    one.state = { ...state, delayTold: true }
    const org = parts.organizations.get(entry.org)
    if (entry.kind === 'notice' || org === undefined) return
    const until = new Date(Date.parse(entry.arrivedAt) + parts.lifeMs)
    const results = state.waiting.filter(({ settled }) => settled === null).map((one) => lastOf(entry, one))
    try {
      one.notice = await tell(entry, org, 'delayed', results, until)
      if (live.has(entry.id)) await folder.note(entry.id, one.state, { durable: true })
    } catch (cause) {
      log.warn('a delay was not told', { org: entry.org, intake: entry.intake, cause })
    }
  }

  async function endLife(one: Live): Promise<void> {
    const org = parts.organizations.get(one.entry.org)
    if (org === undefined || one.busy) return
    line.remove(one.entry.org, one)
    await follow(one, { kind: 'ended', fates: new Map() })
  }

  for await (const loaded of folder.load()) {
    if (loaded.kind === 'damaged') {
      damaged += 1
      log.error('a file of the spool cannot be read', { file: loaded.id, cause: loaded.cause })
      continue
    }
    const { entry, size } = loaded
    const state = loaded.state ?? firstState(entry, time())
    add({
      entry,
      size,
      state: { ...state, nextAt: Math.min(state.nextAt, time()) },
      busy: false,
      confirmedUntil: 0,
      notice: null,
    })
    if (!parts.organizations.has(entry.org))
      log.error('the spool holds mail of an organization that is gone', { org: entry.org })
  }
  const timer = setInterval(tick, Math.min(1_000, parts.pauses.firstMs / 2))

  return {
    put,
    async tell(subject, org, action, results) {
      await tell(subject, org, action, results)
    },
    holds(envelope, address) {
      return [...(byEnvelope.get(envelope) ?? [])].some(({ state }) =>
        state.waiting.some((one) => one.address === address),
      )
    },
    wake(org) {
      for (const one of live.values()) {
        // Whom the next hop itself put off waits on.
        const unheard = one.state.waiting.every(({ last }) => last?.remote !== true)
        if (one.entry.org === org && !one.busy && !one.state.held && unheard) line.push(org, one)
      }
    },
    stats: () => ({ ...statsOf([...live.values()]), damaged, full }),
    flush(id) {
      const chosen = id === null ? [...live.values()] : [live.get(id)].filter((one) => one !== undefined)
      for (const one of chosen) {
        one.state = { ...one.state, held: false, nextAt: time() }
        if (!one.busy) line.push(one.entry.org, one)
      }
      return chosen.length
    },
    async hold(id) {
      const one = live.get(id)
      if (one === undefined) return false
      one.state = { ...one.state, held: true }
      line.remove(one.entry.org, one)
      await folder.note(id, one.state, { durable: true })
      return true
    },
    async drop(id, bounce) {
      const one = live.get(id)
      const org = one === undefined ? undefined : parts.organizations.get(one.entry.org)
      if (one === undefined) return 'unknown'
      if (one.busy) return 'busy'
      one.busy = true
      const left = one.state.waiting.filter(({ settled }) => settled === null)
      const results = left.map((waiting) => droppedOf(one.entry, waiting))
      if (bounce && org !== undefined && one.entry.kind === 'message') await tell(one.entry, org, 'failed', results)
      const fates = new Map(left.map((waiting) => [waiting.address, fateOf(droppedOf(one.entry, waiting))]))
      await report(one.entry, one.state.waiting, fates)
      await remove(one)
      return 'dropped'
    },
    async close() {
      clearInterval(timer)
      const ended = Promise.all([line.close(), ...following])
      const grace = setTimeout(() => stopping.abort(), GRACE_MS)
      await ended
      clearTimeout(grace)
      stopping.abort()
    },
  }
}

function lastOf(entry: SpoolEntry, { address, last }: Waiting): RecipientResult {
  return last ?? notDelivered(mailboxOf(entry, address), 'it could not be tried yet')
}

function droppedOf(entry: SpoolEntry, { address }: Waiting): RecipientResult {
  return refusedHere(mailboxOf(entry, address), 554, '5.7.0', 'taken out of the queue by an administrator')
}

function mailboxOf(entry: SpoolEntry, address: Address): string {
  return entry.recipients.find((one) => one.address === address)?.mailbox ?? address
}

function statsOf(all: readonly Live[]): Omit<SpoolStats, 'damaged' | 'full'> {
  let octets = 0
  let held = 0
  let oldestAt: number | null = null
  for (const { entry, state, size } of all) {
    const at = Date.parse(entry.arrivedAt)
    octets += size
    held += state.held ? 1 : 0
    oldestAt = oldestAt === null ? at : Math.min(oldestAt, at)
  }
  return { entries: all.length, octets, held, oldestAt }
}

/** A time for people. */
function words(ms: number): string {
  const [size, unit] =
    ms >= 2 * 86_400_000 ? [86_400_000, 'days'] : ms >= 7_200_000 ? [3_600_000, 'hours'] : [1_000, 'seconds']
  return `${Math.round(ms / size)} ${unit}`
}
