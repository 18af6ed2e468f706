import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { ReportAction } from './bounce-words.ts'
import type { Breaker } from './breaker.ts'
import type { Copies } from './copies.ts'
import type { OutgoingMail, RecipientResult } from './courier.ts'
import { GatewayError } from './error.ts'
import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import { notDelivered, refusedHere } from './recipient-result.ts'
import { attemptEntry, type Fates, fateOf } from './spool-attempt.ts'
import { firstState, nextAttempt, type Pauses, type SpoolEntry, type Waiting } from './spool-entry.ts'
import type { SpoolFolder } from './spool-folder.ts'
import { createSpoolIndex, type Live, type SpoolCount } from './spool-index.ts'
import { createSpoolLine } from './spool-line.ts'
import { noticeFor, type Subject } from './spool-notice.ts'
import { reportFates } from './spool-report.ts'
import { type SpoolSettlement, settleSpooled, withoutFailed } from './spool-settlement.ts'

/** Mail that was answered 250 and is not delivered yet: kept until it is delivered, bounced or taken back. */
export type Spool = {
  /** Durable when it resolves, and then tried. Rejects with `disk-full`, or with whatever the mail's stream fails with; nothing is kept then. */
  put(entry: SpoolEntry, mail: OutgoingMail, known: Known): Promise<void>
  /** Puts a notice to the sender in, where one is wished; durable when it resolves. */
  tell(
    subject: Subject,
    org: Organization,
    action: ReportAction,
    results: readonly RecipientResult[],
    until?: Date,
  ): Promise<void>
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
  /** Nothing was sent, and the key server is asked before the first attempt. */
  | { readonly kind: 'unconfirmed' }
  /** A delivery has ended so for its recipients. */
  | { readonly kind: 'ended'; readonly fates: Fates }
  /** A delivery waits for the answer to its dot. `stop` ends that wait. */
  | { readonly kind: 'under-way'; readonly ending: Promise<Fates>; readonly stop: () => void }

export type SpoolStats = SpoolCount & {
  /** Files that cannot be read. */
  readonly damaged: number
  /** The disk has so little room left that no more is taken in. */
  readonly full: boolean
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
  readonly copies: Pick<Copies, 'settle'>
  readonly metrics: Pick<Metrics, 'outcome' | 'byLink'>
  readonly log: Log
  readonly now: () => Date
}

/** Octets of a mail that stay in memory for the attempt right after it came in, and of all of them. */
const FRESH = { one: 256 * 1024, all: 16 * 1024 * 1024 }
/** How long a stop waits for deliveries under way, milliseconds. */
const GRACE_MS = 5_000

/** Takes up what an earlier run left. */
export async function openSpool(parts: SpoolParts): Promise<Spool> {
  const { folder, log } = parts
  const index = createSpoolIndex()
  const stopping = new AbortController()
  const following = new Set<Promise<void>>()
  let damaged = 0
  let full = false
  let fresh = 0
  const time = () => parts.now().getTime()
  const line = createSpoolLine<Live>({
    lanes: (org) => parts.lanes(org as OrgId),
    allows: (org) => parts.keyServerBreaker.allows() && (parts.providers.get(org as OrgId)?.allows() ?? false),
    run,
  })

  async function remove(one: Live): Promise<void> {
    forget(one)
    index.remove(one)
    line.remove(one.entry.org, one)
    await folder.remove(one.entry.id)
    const notice = one.notice === null ? undefined : index.get(one.notice)
    // Nobody need be told of a delay that is over.
    if (notice !== undefined && !notice.busy) await remove(notice)
  }

  function forget(one: Live): void {
    if (one.fresh !== null) fresh -= one.entry.mail.size
    one.fresh = null
  }

  /** One turn of one entry. Never rejects. */
  async function run(one: Live): Promise<void> {
    const { entry, state } = one
    const org = parts.organizations.get(entry.org)
    if (one.busy || org === undefined || index.get(entry.id) !== one) return
    one.busy = true
    const confirmed = state.attempts === 0 && one.confirmedUntil > performance.now()
    const waiting = state.waiting.filter(({ settled }) => settled === null)
    const open = one.fresh === null ? () => folder.mail(entry.id) : inOrder(one.fresh)
    try {
      const order = { org, entry, waiting, open, signal: stopping.signal, confirmed }
      const fates = waiting.length === 0 ? new Map() : await attemptEntry(parts, order)
      await settle(one, org, fates)
    } catch (cause) {
      // The key server cannot be asked; or our own disk fails us, and then the next attempt finds out what was done.
      log.warn('a spooled message waits', { org: entry.org, intake: entry.intake, file: entry.id, cause })
      putOff(one)
    } finally {
      forget(one)
      one.busy = false
    }
  }

  function putOff(one: Live): void {
    one.state = { ...one.state, nextAt: nextAttempt(1, time(), parts.pauses, Math.random()) }
  }

  /** What an attempt came to: first the sender's notices, then the key server, then what is left. */
  async function settle(one: Live, org: Organization, fates: Fates): Promise<void> {
    const { entry } = one
    const now = time()
    const over = now - Date.parse(entry.arrivedAt) >= parts.lifeMs ? words(parts.lifeMs) : null
    const { waiting } = one.state
    const settlement = await settleAndTell(entry, org, settleSpooled(waiting, fates, over), waiting)
    const untold = await reportFates(parts, entry, waiting, settlement.fates)
    const attempts = one.state.attempts + 1
    const turned = [...settlement.fates.values()].filter((fate) => fate.kind === 'again' && fate.byLink === true)
    parts.metrics.byLink(turned.length)
    // What can be done about it is done at once.
    const nextAt = turned.length > 0 ? now : nextAttempt(attempts, now, parts.pauses, Math.random())
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

  /** The sender is told before the key server is. Whose bounce cannot be kept is tried again as if nothing had been said. */
  async function settleAndTell(
    entry: SpoolEntry,
    org: Organization,
    settlement: SpoolSettlement,
    waiting: readonly Waiting[],
  ): Promise<SpoolSettlement> {
    if (entry.kind === 'notice') return settlement
    try {
      const silent = settlement.sent.filter(({ dsn }) => dsn !== true)
      if (org.courier.capabilities()?.dsn !== true) await tell(entry, org, 'relayed', silent)
      await tell(entry, org, 'failed', settlement.failed)
      return settlement
    } catch (cause) {
      log.error('a sender cannot be told', { org: entry.org, intake: entry.intake, cause })
      return withoutFailed(settlement, waiting)
    }
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
    if (index.get(notice.entry.id) === undefined) await put(notice.entry, notice.mail, { kind: 'confirmed' })
    return notice.entry.id
  }

  async function put(entry: SpoolEntry, mail: OutgoingMail, known: Known): Promise<void> {
    if (stopping.signal.aborted) throw new GatewayError('internal', { message: 'the spool is closed' })
    const kept: Uint8Array[] | null = mail.size <= FRESH.one && fresh + mail.size <= FRESH.all ? [] : null
    const size = await folder.add(entry, kept === null ? mail.open() : keeping(mail.open(), kept))
    if (kept !== null) fresh += mail.size
    const confirmedUntil = known.kind === 'unconfirmed' ? 0 : performance.now() + parts.leaseMs
    const state = firstState(entry, time())
    const one: Live = { entry, size, state, busy: false, confirmedUntil, fresh: kept, notice: null }
    index.add(one)
    if (known.kind === 'confirmed' || known.kind === 'unconfirmed') line.push(entry.org, one)
    else await follow(one, known)
  }

  /** Resolves at once where the end is still to come. */
  async function follow(one: Live, known: Exclude<Known, { kind: 'confirmed' | 'unconfirmed' }>): Promise<void> {
    const org = parts.organizations.get(one.entry.org)
    if (org === undefined) return
    one.busy = true
    forget(one)
    const end = async () => {
      try {
        await settle(one, org, known.kind === 'ended' ? known.fates : await known.ending)
      } catch (cause) {
        log.warn('a spooled message waits', { org: org.id, intake: one.entry.intake, cause })
        putOff(one)
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
    for (const one of index.all()) {
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
      if (index.get(entry.id) === one) await folder.note(entry.id, one.state, { durable: true })
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
    index.add({
      entry,
      size,
      state: { ...state, nextAt: Math.min(state.nextAt, time()) },
      busy: false,
      confirmedUntil: 0,
      fresh: null,
      notice: null,
    })
    if (!parts.organizations.has(entry.org))
      log.error('the spool holds mail of an organization that is gone', { org: entry.org })
  }
  const timer = setInterval(tick, Math.min(1_000, parts.pauses.firstMs / 2))

  return {
    put,
    async tell(subject, org, action, results, until) {
      await tell(subject, org, action, results, until)
    },
    holds: (envelope, address) => index.holds(envelope, address),
    wake(org) {
      for (const one of index.all()) {
        // Whom the next hop itself put off waits on.
        const unheard = one.state.waiting.every(({ last }) => last?.remote !== true)
        if (one.entry.org === org && !one.busy && !one.state.held && unheard) line.push(org, one)
      }
    },
    stats: () => ({ ...index.count(), damaged, full }),
    flush(id) {
      const chosen = id === null ? [...index.all()] : [index.get(id)].filter((one) => one !== undefined)
      for (const one of chosen) {
        one.state = { ...one.state, held: false, nextAt: time() }
        if (!one.busy) line.push(one.entry.org, one)
      }
      return chosen.length
    },
    async hold(id) {
      const one = index.get(id)
      if (one === undefined) return false
      one.state = { ...one.state, held: true }
      line.remove(one.entry.org, one)
      await folder.note(id, one.state, { durable: true })
      return true
    },
    async drop(id, bounce) {
      const one = index.get(id)
      const org = one === undefined ? undefined : parts.organizations.get(one.entry.org)
      if (one === undefined) return 'unknown'
      if (one.busy) return 'busy'
      one.busy = true
      try {
        const left = one.state.waiting.filter(({ settled }) => settled === null)
        const results = left.map((waiting) => droppedOf(one.entry, waiting))
        if (bounce && org !== undefined && one.entry.kind === 'message') await tell(one.entry, org, 'failed', results)
        const fates = new Map(left.map((waiting) => [waiting.address, fateOf(droppedOf(one.entry, waiting))]))
        await reportFates(parts, one.entry, one.state.waiting, fates)
        await remove(one)
      } finally {
        one.busy = false
      }
      return 'dropped'
    },
    async close() {
      clearInterval(timer)
      const ended = Promise.all([line.close(), ...following])
      const grace = setTimeout(() => stopping.abort(), GRACE_MS)
      await ended
      clearTimeout(grace)
      stopping.abort()
      await folder.close()
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

/** The same octets, which are then in `kept` as well. */
async function* keeping(mail: AsyncIterable<Uint8Array>, kept: Uint8Array[]): AsyncGenerator<Uint8Array> {
  for await (const chunk of mail) {
    kept.push(chunk)
    yield chunk
  }
}

function inOrder(chunks: readonly Uint8Array[]): OutgoingMail['open'] {
  return async function* () {
    yield* chunks
  }
}

/** A time for people. */
function words(ms: number): string {
  const [size, unit] =
    ms >= 2 * 86_400_000 ? [86_400_000, 'days'] : ms >= 7_200_000 ? [3_600_000, 'hours'] : [1_000, 'seconds']
  return `${Math.round(ms / size)} ${unit}`
}
