import type { OrgId } from '../protocol/identifiers.ts'
import type { RecipientResult } from './courier.ts'
import type { Log } from './log.ts'
import type { Organization } from './organization.ts'
import { notDelivered } from './recipient-result.ts'
import { mailboxOf, type SpoolEntry, type Waiting } from './spool-entry.ts'
import type { SpoolFolder } from './spool-folder.ts'
import type { Live, SpoolIndex } from './spool-index.ts'
import { giveChance, isGap } from './spool-life.ts'
import type { SpoolLine } from './spool-line.ts'
import type { TellSender } from './spool-notice.ts'

export type SpoolWatchParts = {
  readonly lifeMs: number
  readonly delayNoticeMs: number
  readonly organizations: ReadonlyMap<OrgId, Organization>
  readonly folder: Pick<SpoolFolder, 'note'>
  readonly index: SpoolIndex
  readonly line: SpoolLine<Live>
  readonly tell: TellSender
  /** Its life is over: whoever has not got it is told so. */
  readonly endLife: (one: Live) => void
  readonly log: Log
  readonly now: () => Date
}

/** Makes the look at all entries that is due every second: who is tried, whose sender hears of a delay, whose life is over. */
export function createSpoolWatch(parts: SpoolWatchParts): () => void {
  const { index, line } = parts
  let last = parts.now().getTime()

  async function tellDelay(one: Live): Promise<void> {
    const { entry, state } = one
    one.state = { ...state, delayTold: true }
    const org = parts.organizations.get(entry.org)
    if (entry.kind === 'notice' || org === undefined) return
    const until = new Date(one.endsAt)
    const results = state.waiting.filter(({ settled }) => settled === null).map((one) => lastOf(entry, one))
    try {
      one.notice = await parts.tell(entry, org, 'delayed', results, until)
      if (index.get(entry.id) === one) await parts.folder.note(entry.id, one.state, { durable: true })
    } catch (cause) {
      parts.log.warn('a delay was not told', { org: entry.org, intake: entry.intake, cause })
    }
  }

  return () => {
    const now = parts.now().getTime()
    const gap = isGap(last, now)
    last = now
    for (const one of index.all()) {
      if (gap) giveChance(one, now, parts.lifeMs)
      if (one.busy) continue
      const age = now - Date.parse(one.entry.arrivedAt)
      if (age >= parts.delayNoticeMs && !one.state.delayTold) void tellDelay(one)
      if (one.state.held) continue
      if (now >= one.endsAt) parts.endLife(one)
      else if (one.state.nextAt <= now) line.push(one.entry.org, one)
    }
    line.pump()
  }
}

function lastOf(entry: SpoolEntry, { address, last }: Waiting): RecipientResult {
  return last ?? notDelivered(mailboxOf(entry, address), 'it could not be tried yet')
}
