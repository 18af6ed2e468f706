import type { OrgId } from '../protocol/identifiers.ts'
import type { OutgoingMail } from './courier.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import { type AttemptParts, attemptEntry, type Fates } from './spool-attempt.ts'
import { nextAttempt, type Pauses, type SpoolEntry, type Waiting } from './spool-entry.ts'
import type { SpoolFolder } from './spool-folder.ts'
import type { FreshMails } from './spool-fresh.ts'
import type { Live, SpoolIndex } from './spool-index.ts'
import type { TellSender } from './spool-notice.ts'
import { reportFates, type SpoolReportParts } from './spool-report.ts'
import { type SpoolSettlement, settleSpooled, withoutFailed } from './spool-settlement.ts'

export type SpoolTurnParts = AttemptParts &
  SpoolReportParts & {
    readonly lifeMs: number
    readonly pauses: Pauses
    readonly organizations: ReadonlyMap<OrgId, Organization>
    readonly folder: Pick<SpoolFolder, 'mail' | 'note'>
    readonly metrics: Pick<Metrics, 'outcome' | 'byLink'>
    readonly now: () => Date
    readonly index: SpoolIndex
    readonly fresh: FreshMails
    readonly tell: TellSender
    /** Takes it out, on the disk as well. */
    readonly remove: (one: Live) => Promise<void>
    /** Ends attempts under way. */
    readonly stop: AbortSignal
  }

/** One turn of one entry: an attempt, and what comes of it. */
export type SpoolTurns = {
  /** Never rejects. */
  run(one: Live): Promise<void>
  /** Ends the turn of an entry that was tried elsewhere, or is not tried any more. The entry must be busy, and is so until it resolves; never rejects. */
  end(one: Live, org: Organization, fates: Fates | Promise<Fates>): Promise<void>
}

export function createSpoolTurns(parts: SpoolTurnParts): SpoolTurns {
  const { folder, log } = parts
  const time = () => parts.now().getTime()

  async function run(one: Live): Promise<void> {
    const { entry, state } = one
    const org = parts.organizations.get(entry.org)
    if (one.busy || org === undefined || parts.index.get(entry.id) !== one) return
    one.busy = true
    const confirmed = state.attempts === 0 && one.confirmedUntil > performance.now()
    const waiting = state.waiting.filter(({ settled }) => settled === null)
    const open = one.fresh === null ? () => folder.mail(entry.id) : inOrder(one.fresh)
    const order = { org, entry, waiting, open, signal: parts.stop, confirmed }
    await end(one, org, waiting.length === 0 ? new Map() : attemptEntry(parts, order))
  }

  async function end(one: Live, org: Organization, fates: Fates | Promise<Fates>): Promise<void> {
    try {
      await settle(one, org, await fates)
    } catch (cause) {
      // The key server cannot be asked; or our own disk fails us, and then the next attempt finds out what was done.
      log.warn('a spooled message waits', { org: org.id, intake: one.entry.intake, file: one.entry.id, cause })
      one.state = { ...one.state, nextAt: nextAttempt(1, time(), parts.pauses, Math.random()) }
    } finally {
      parts.fresh.forget(one)
      one.busy = false
    }
  }

  /** What an attempt came to: first the sender's notices, then the key server, then what is left. */
  async function settle(one: Live, org: Organization, fates: Fates): Promise<void> {
    const { entry } = one
    const now = time()
    const age = now - Date.parse(entry.arrivedAt)
    const { waiting } = one.state
    const settled = settleSpooled(waiting, fates, now >= one.endsAt ? words(parts.lifeMs) : null)
    const settlement = await settleAndTell(entry, org, settled, waiting)
    const untold = await reportFates(parts, entry, waiting, settlement.fates)
    const attempts = one.state.attempts + 1
    const turned = [...settlement.fates.values()].filter((fate) => fate.kind === 'again' && fate.byLink === true)
    parts.metrics.byLink(turned.length)
    // What can be done about it is done at once.
    const nextAt = turned.length > 0 ? now : nextAttempt(attempts, now, parts.pauses, Math.random())
    one.state = { ...one.state, attempts, nextAt, waiting: [...settlement.again, ...untold] }
    const ended = { org: entry.org, intake: entry.intake, count: attempts, ms: age }
    if (one.state.waiting.length > 0) {
      await folder.note(entry.id, one.state, { durable: untold.length > 0 || settlement.fates.size > 0 })
      log.info('a spooled message is tried again', { ...ended, recipients: one.state.waiting.length })
      return
    }
    await parts.remove(one)
    const { sent, failed } = settlement
    const outcome = failed.length > 0 ? 'failed' : 'sent'
    log.info('a spooled message is done', { ...ended, outcome, recipients: sent.length })
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
      if (org.courier.capabilities()?.dsn !== true) await parts.tell(entry, org, 'relayed', silent)
      await parts.tell(entry, org, 'failed', settlement.failed)
      return settlement
    } catch (cause) {
      log.error('a sender cannot be told', { org: entry.org, intake: entry.intake, cause })
      return withoutFailed(settlement, waiting)
    }
  }

  return { run, end }
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
