import type { HoldFate } from '../protocol/hold-api.ts'
import { EgressViolation } from './egress.ts'
import { type HoldEntry, spoolEntryOf, subjectOfHold, wrappingOf } from './hold-entry.ts'
import type { HoldFolder } from './hold-folder.ts'
import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'
import type { Organization } from './organization.ts'
import { type PreparationParts, wrapCopy } from './preparation.ts'
import { sentBack } from './recipient-result.ts'
import type { Spool } from './spool.ts'

export type HoldFateParts = PreparationParts & {
  readonly folder: Pick<HoldFolder, 'copy'>
  readonly spool: Pick<Spool, 'put' | 'tell' | 'holds'>
  readonly keyServer: Pick<KeyServer, 'outcome'>
  readonly log: Log
}

type Decided = Extract<HoldFate, { kind: 'let-go' | 'returned' }> | { readonly kind: 'expired' }

/**
 * Does with a held mail what was decided; when it resolves, its file is needed no more. Whatever breaks between that and the file's end is done
 * again: the spool asks the key server before each delivery, and knows a notice that it has already.
 */
export async function carryOut(
  parts: HoldFateParts,
  org: Organization,
  entry: HoldEntry,
  fate: Decided,
): Promise<void> {
  switch (fate.kind) {
    case 'let-go':
      return deliver(parts, org, entry, fate)
    case 'returned': {
      const why = fate.reason ?? 'nobody decided in time'
      return tell(parts, org, entry, 'returned', why, '5.7.1')
    }
    case 'expired': {
      const why = 'its time to live ended before it could be delivered'
      return tell(parts, org, entry, 'returned', why, '5.4.7')
    }
  }
}

async function deliver(
  parts: HoldFateParts,
  org: Organization,
  entry: HoldEntry,
  notice: Extract<Decided, { kind: 'let-go' }>,
): Promise<void> {
  const left = entry.recipients.filter(({ address }) => !parts.spool.holds(entry.envelope, address))
  if (left.length === 0) return
  const prepared = await wrapCopy(parts, wrappingOf(entry, org), await parts.folder.copy(entry), notice)
  try {
    const addresses = left.map(({ address }) => address)
    const spoolEntry = await spoolEntryOf(entry, addresses, prepared, parts.now())
    await parts.spool.put(spoolEntry, prepared.mail, { kind: 'unconfirmed' })
  } catch (error) {
    if (!(error instanceof EgressViolation)) throw error
    await stopped(parts, org, entry, error)
  } finally {
    await prepared.dispose()
  }
}

/** The last look would stop it at every try. */
async function stopped(
  parts: HoldFateParts,
  org: Organization,
  entry: HoldEntry,
  { incident }: EgressViolation,
): Promise<void> {
  const why = `it was stopped by the last look at what leaves, incident ${incident}`
  await tell(parts, org, entry, 'returned', why, '5.6.0')
  const failed = { org: entry.org, id: entry.envelope, outcome: 'failed', reply: '554 5.6.0 stopped here' } as const
  await Promise.all(entry.recipients.map(({ address }) => parts.keyServer.outcome({ ...failed, recipient: address })))
}

async function tell(
  parts: HoldFateParts,
  org: Organization,
  entry: HoldEntry,
  action: 'returned',
  why: string,
  enhanced: string,
): Promise<void> {
  const results = entry.recipients.map(({ mailbox }) => sentBack(mailbox, enhanced, why))
  await parts.spool.tell(subjectOfHold(entry), org, action, results)
}
