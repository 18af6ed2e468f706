import type { OrgId } from '../protocol/identifiers.ts'
import type { RecipientResult } from './courier.ts'
import type { Organization } from './organization.ts'
import { refusedHere } from './recipient-result.ts'
import { fateOf } from './spool-attempt.ts'
import { mailboxOf, type SpoolEntry, type Waiting } from './spool-entry.ts'
import type { SpoolFolder } from './spool-folder.ts'
import type { Live, SpoolIndex } from './spool-index.ts'
import { giveChance } from './spool-life.ts'
import type { SpoolLine } from './spool-line.ts'
import type { TellSender } from './spool-notice.ts'
import { reportFates, type SpoolReportParts } from './spool-report.ts'

/** What an administrator may order. */
export type SpoolOrders = {
  /** Tries now, those on hold too; null: all. How many. */
  flush(id: string | null): number
  /** Not tried until flushed, and kept for as long as that takes. */
  hold(id: string): Promise<boolean>
  /** Taken out for good; `bounce` tells the sender. `busy` while it is being delivered. */
  drop(id: string, bounce: boolean): Promise<'dropped' | 'busy' | 'unknown'>
}

export type SpoolOrderParts = SpoolReportParts & {
  readonly lifeMs: number
  readonly organizations: ReadonlyMap<OrgId, Organization>
  readonly folder: Pick<SpoolFolder, 'note'>
  readonly index: SpoolIndex
  readonly line: SpoolLine<Live>
  readonly tell: TellSender
  /** Takes it out, on the disk as well. */
  readonly remove: (one: Live) => Promise<void>
  readonly now: () => Date
}

export function createSpoolOrders(parts: SpoolOrderParts): SpoolOrders {
  const { index, line } = parts
  return {
    flush(id) {
      const chosen = id === null ? [...index.all()] : [index.get(id)].filter((one) => one !== undefined)
      for (const one of chosen) {
        one.state = { ...one.state, held: false }
        giveChance(one, parts.now().getTime(), parts.lifeMs)
        if (!one.busy) line.push(one.entry.org, one)
      }
      return chosen.length
    },
    async hold(id) {
      const one = index.get(id)
      if (one === undefined) return false
      one.state = { ...one.state, held: true }
      line.remove(one.entry.org, one)
      await parts.folder.note(id, one.state, { durable: true })
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
        if (bounce && org !== undefined && one.entry.kind === 'message')
          await parts.tell(one.entry, org, 'failed', results)
        const fates = new Map(left.map((waiting) => [waiting.address, fateOf(droppedOf(one.entry, waiting))]))
        await reportFates(parts, one.entry, one.state.waiting, fates)
        await parts.remove(one)
      } finally {
        one.busy = false
      }
      return 'dropped'
    },
  }
}

function droppedOf(entry: SpoolEntry, { address }: Waiting): RecipientResult {
  return refusedHere(mailboxOf(entry, address), 554, '5.7.0', 'taken out of the queue by an administrator')
}
