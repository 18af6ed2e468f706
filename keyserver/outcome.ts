import type { OutcomeRequest, OutcomeResult } from '../protocol/gateway-api.ts'
import { type Address, type OrgId, parseAddress } from '../protocol/identifiers.ts'
import type { Persons } from './journal.ts'
import type { Parts } from './parts.ts'
import { refused } from './refused.ts'
import { type Attempt, isHeld } from './retry.ts'
import type { Recipient } from './store.ts'

type Caller = Attempt & { readonly organizations: ReadonlySet<OrgId>; readonly requestId: string }

/**
 * The state of a recipient's copy after an outcome; null leaves everything as it is. What was sent stays sent: no later word takes that
 * back, or a second mail would follow. While another attempt holds the lease, only `sent` counts.
 */
export function judgeOutcome(
  recipient: Recipient,
  outcome: OutcomeRequest['outcome'],
  attempt: Attempt,
  leases: number,
): Recipient['state'] | null {
  if (recipient.state === 'sent') return null
  if (outcome === 'sent') return 'sent'
  const { lease } = recipient
  const own = lease?.gateway === attempt.gateway && lease.instance === attempt.instance
  if (!own && isHeld(lease, attempt, leases)) return null
  if (recipient.state === 'failed') return null
  return outcome === 'deferred' ? 'open' : outcome
}

/** Whether every delivery surely failed for good. */
export function reachedNobody(recipients: readonly Recipient[]): boolean {
  return recipients.every(({ state, doubt }) => state === 'failed' && !doubt)
}

/** Records what the provider said of one recipient. */
export async function recordOutcome(parts: Parts, caller: Caller, request: OutcomeRequest): Promise<OutcomeResult> {
  const { org, id, outcome } = request
  if (!caller.organizations.has(org)) return refused('not-authorised', `This gateway may not act for ${org}.`)
  const address = parseAddress(request.recipient)
  if (address === null) return refused('bad-request', 'The recipient is not an address.')
  const persons = await personOf(parts, request, address)
  if (persons === null) return refused('not-found', 'There is no such envelope or recipient.')
  const now = parts.clock.now()
  return await parts.store.transact(async (tx) => {
    const recipient = await tx.envelopes.recipient(id, address)
    if (recipient?.org !== org) return refused('not-found', 'There is no such envelope or recipient.')
    const next = judgeOutcome(recipient, outcome, caller, parts.clock.leases())
    if (next !== null) await tx.envelopes.setRecipient(id, address, next, null)
    if (outcome === 'unknown') await tx.envelopes.doubt(id, address)
    // What surely reached nobody needs no key any more; what may have reached somebody stays openable.
    if (next === 'failed' && reachedNobody(await tx.envelopes.recipients(id))) await tx.envelopes.withdraw(id, now)
    parts.journal.append(tx, org, persons, (name) => ({
      kind: 'outcome',
      time: new Date(now).toISOString(),
      request: caller.requestId,
      envelope: id,
      gateway: caller.gateway,
      recipient: name.person(address),
      outcome,
      status: /^\d{3}/.exec(request.reply)?.[0] ?? '',
      reply: name.value(address, request.reply.toWellFormed()),
    }))
    parts.metrics.count('sealpost_outcomes_total', { outcome })
    return { kind: 'recorded' }
    // What is on its way already must be noted, or it would be sent again.
  }, 'upkeep')
}

/** Null where the address is no recipient: nobody gets a place among the persons because a gateway named them. */
async function personOf(
  { store, journal }: Parts,
  { org, id }: OutcomeRequest,
  address: Address,
): Promise<Persons | null> {
  const acquainted = journal.acquainted(org, [address])
  if (acquainted.size > 0) return acquainted
  const found = await store.read((reads) => reads.envelopes.recipient(id, address))
  return found?.org !== org ? null : await journal.persons(org, [address])
}
