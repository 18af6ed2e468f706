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
import type { Fates } from './spool-attempt.ts'
import { firstState, type Pauses, type SpoolEntry } from './spool-entry.ts'
import type { SpoolFolder } from './spool-folder.ts'
import { createFreshMails } from './spool-fresh.ts'
import { createSpoolIndex, type Live, type SpoolCount, type SpoolIndex } from './spool-index.ts'
import { giveChance } from './spool-life.ts'
import { createSpoolLine } from './spool-line.ts'
import { noticeFor, type Subject, type TellSender } from './spool-notice.ts'
import { createSpoolOrders, type SpoolOrders } from './spool-orders.ts'
import { createSpoolTurns } from './spool-turn.ts'
import { createSpoolWatch } from './spool-watch.ts'

/** Mail that was answered 250 and is not delivered yet: kept until it is delivered, bounced or taken back. */
export type Spool = SpoolOrders & {
  /** Durable when it resolves, and then tried. Rejects with `disk-full`, or with whatever the mail's stream or its confirmation fails with; nothing is kept then. */
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
  /** Ends what is under way after a grace; what is left is tried after the next start. */
  close(): Promise<void>
}

/** What is known of an entry when it is put in. */
export type Known =
  /** Nothing was sent, and it is being confirmed while it is written: either takes about as long. */
  | { readonly kind: 'confirming'; readonly confirmed: Promise<void> }
  /** Nothing was sent, and of an envelope the key server is asked before the first attempt. */
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
  /** Its folder is gone, or cannot be looked at. */
  readonly lost: boolean
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

/** How long a stop waits for deliveries under way, milliseconds. */
const GRACE_MS = 5_000

/** Takes up what an earlier run left. */
export async function openSpool(parts: SpoolParts): Promise<Spool> {
  const { folder } = parts
  const stopping = new AbortController()
  const following = new Set<Promise<void>>()
  const index = createSpoolIndex()
  const fresh = createFreshMails()
  const turns = createSpoolTurns({ ...parts, index, fresh, tell, remove, stop: stopping.signal })
  const line = createSpoolLine<Live>({
    lanes: (org) => parts.lanes(org as OrgId),
    allows: (org) => parts.keyServerBreaker.allows() && (parts.providers.get(org as OrgId)?.allows() ?? false),
    run: turns.run,
  })

  async function remove(one: Live): Promise<void> {
    fresh.forget(one)
    index.remove(one)
    line.remove(one.entry.org, one)
    await folder.remove(one.entry.id)
    const notice = one.notice === null ? undefined : index.get(one.notice)
    // Nobody need be told of a delay that is over.
    if (notice !== undefined && !notice.busy) await remove(notice)
  }

  async function tell(...[subject, org, action, results, until]: Parameters<TellSender>): Promise<string | null> {
    const times = until === undefined ? { now: parts.now() } : { now: parts.now(), until }
    const notice = noticeFor(subject, { org, host: parts.host, action, results, ...times })
    if (notice === null) return null
    if (index.get(notice.entry.id) === undefined) await put(notice.entry, notice.mail, { kind: 'unconfirmed' })
    return notice.entry.id
  }

  async function put(entry: SpoolEntry, mail: OutgoingMail, known: Known): Promise<void> {
    if (stopping.signal.aborted) throw new GatewayError('internal', { message: 'the spool is closed' })
    const confirmedUntil = known.kind === 'unconfirmed' ? 0 : performance.now() + parts.leaseMs
    const { octets, kept } = fresh.keep(mail)
    const added = folder.add(entry, octets)
    const size = known.kind === 'confirming' ? await onceConfirmed(entry, added, known.confirmed) : await added
    const state = firstState(entry, parts.now().getTime())
    const endsAt = Date.parse(entry.arrivedAt) + parts.lifeMs
    const one: Live = { entry, size, state, endsAt, busy: false, confirmedUntil, fresh: kept, notice: null }
    fresh.count(one)
    index.add(one)
    if (known.kind === 'confirming' || known.kind === 'unconfirmed') line.push(entry.org, one)
    else await follow(one, known)
  }

  /** Killed in between, what is here is confirmed after the next start, before anything is sent of it. */
  async function onceConfirmed(entry: SpoolEntry, added: Promise<number>, confirmed: Promise<void>): Promise<number> {
    const [written, allowed] = await Promise.allSettled([added, confirmed])
    if (written.status === 'rejected') throw written.reason
    if (allowed.status === 'fulfilled') return written.value
    await folder.remove(entry.id)
    throw allowed.reason
  }

  /** Resolves at once where the end is still to come. */
  async function follow(one: Live, known: Exclude<Known, { kind: 'confirming' | 'unconfirmed' }>): Promise<void> {
    const org = parts.organizations.get(one.entry.org)
    if (org === undefined) return
    one.busy = true
    fresh.forget(one)
    const stop = known.kind === 'ended' ? null : known.stop
    if (stop !== null) stopping.signal.addEventListener('abort', stop)
    const ended = turns.end(one, org, known.kind === 'ended' ? known.fates : known.ending).finally(() => {
      following.delete(ended)
      if (stop !== null) stopping.signal.removeEventListener('abort', stop)
    })
    following.add(ended)
    if (known.kind === 'ended') await ended
  }

  function endLife(one: Live): void {
    if (one.busy) return
    line.remove(one.entry.org, one)
    void follow(one, { kind: 'ended', fates: new Map() })
  }

  const damaged = await loadInto(index, parts)
  const room = watchRoom(parts)
  const look = createSpoolWatch({ ...parts, index, line, tell, endLife })
  const timer = setInterval(
    () => {
      room.look()
      look()
    },
    Math.min(1_000, parts.pauses.firstMs / 2),
  )

  return {
    ...createSpoolOrders({ ...parts, index, line, tell, remove }),
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
    stats: () => ({ ...index.count(), damaged, ...room.state() }),
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

/** What lies in the folder, each with its chance. Gives how many files cannot be read. */
async function loadInto(index: SpoolIndex, { lifeMs, folder, organizations, log, now }: SpoolParts): Promise<number> {
  let damaged = 0
  for await (const loaded of folder.load()) {
    if (loaded.kind === 'damaged') {
      damaged += 1
      log.error('a file of the spool cannot be read', { file: loaded.id, cause: loaded.cause })
      continue
    }
    const { entry, size } = loaded
    const time = now().getTime()
    const state = loaded.state ?? firstState(entry, time)
    const endsAt = Date.parse(entry.arrivedAt) + lifeMs
    const one: Live = { entry, size, state, endsAt, busy: false, confirmedUntil: 0, fresh: null, notice: null }
    giveChance(one, time, lifeMs)
    index.add(one)
    if (!organizations.has(entry.org))
      log.error('the spool holds mail of an organization that is gone', { org: entry.org })
  }
  return damaged
}

/** Whether the disk had room when it was last looked at. */
function watchRoom({ folder, log }: Pick<SpoolParts, 'folder' | 'log'>) {
  let [full, lost] = [false, false]
  return {
    state: () => ({ full, lost }),
    look() {
      folder.isFull().then(
        (is) => {
          full = is
          lost = false
        },
        (cause) => {
          // Said once and not each second.
          if (!lost) log.error('the disk of the spool cannot be asked', { cause })
          lost = true
        },
      )
    },
  }
}
