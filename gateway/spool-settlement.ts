import type { Address } from '../protocol/identifiers.ts'
import type { RecipientResult } from './courier.ts'
import { refusedHere } from './recipient-result.ts'
import type { Fate, Fates } from './spool-attempt.ts'
import type { Waiting } from './spool-entry.ts'

/** What an attempt, or the end of an entry's life, comes to. */
export type SpoolSettlement = {
  /** For the key server, in the order of the recipients. */
  readonly fates: Fates
  /** Of whom the sender is to hear. */
  readonly sent: readonly RecipientResult[]
  readonly failed: readonly RecipientResult[]
  /** Who is tried again. */
  readonly again: readonly Waiting[]
}

/**
 * Pure. Recipients without a fate wait on as they are; those who were settled before are left out. `over`: the entry's life has ended, so that nobody is tried again; said in days or hours.
 */
export function settleSpooled(waiting: readonly Waiting[], fates: Fates, over: string | null): SpoolSettlement {
  const settled = new Map<Address, Fate>()
  const again: Waiting[] = []
  for (const one of waiting) {
    if (one.settled !== null) continue
    const fate = fates.get(one.address) ?? null
    const next = fate?.kind === 'again' ? retried(one, fate) : one
    if (fate !== null && fate.kind !== 'again') settled.set(one.address, fate)
    else if (over !== null) settled.set(one.address, { kind: 'failed', result: ended(next, over) })
    else {
      again.push(next)
      if (fate !== null) settled.set(one.address, fate)
    }
  }
  const of = (kind: 'done' | 'failed') => {
    return [...settled.values()].flatMap((fate) => (fate.kind === kind && fate.result !== null ? [fate.result] : []))
  }
  return { fates: settled, sent: of('done'), failed: of('failed'), again }
}

/** The same, where nobody can be told of those who failed: they wait on. */
export function withoutFailed(settlement: SpoolSettlement, waiting: readonly Waiting[]): SpoolSettlement {
  const { fates, again } = settlement
  const failed = waiting.filter(({ address }) => fates.get(address)?.kind === 'failed')
  const kept = new Map([...fates].filter(([, fate]) => fate.kind !== 'failed'))
  return { ...settlement, fates: kept, failed: [], again: [...again, ...failed] }
}

function retried(one: Waiting, { result, byLink = false }: Extract<Fate, { kind: 'again' }>): Waiting {
  const turned = byLink ? { byLink } : {}
  return { ...one, ...turned, last: result, unknown: one.unknown || result.outcome === 'unknown' }
}

/** RFC 3463: 5.4.7, delivery time expired. */
function ended({ address, last, unknown }: Waiting, over: string): RecipientResult {
  const doubt = unknown ? '; the answer to one attempt was lost, so that it may have arrived' : ''
  const said = last === null ? '' : `; last answer: ${last.code} ${last.text}`
  return refusedHere(
    last?.recipient ?? address,
    554,
    '5.4.7',
    `not delivered within ${over}${doubt}${said}`.slice(0, 400),
  )
}
