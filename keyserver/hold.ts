import type { HoldFate, HoldFateRequest, HoldRequest, HoldResult } from '../protocol/hold-api.ts'
import { type Address, type OrgId, parseAddress } from '../protocol/identifiers.ts'
import type { Persons } from './journal.ts'
import { linkOf, type Parts } from './parts.ts'
import { type Refused, refused } from './refused.ts'
import { isOver } from './retry.ts'
import type { Envelope, Hold, Recipient, Tx } from './store.ts'

type Caller = { readonly gateway: string; readonly organizations: ReadonlySet<OrgId>; readonly requestId: string }

/**
 * Confirms that a gateway keeps an envelope until an officer decides. From then on its copy is the only one that counts: whoever else sealed the
 * same message is refused. Expected refusals are values.
 */
export async function confirmHeld(parts: Parts, caller: Caller, request: HoldRequest): Promise<HoldResult> {
  if (!caller.organizations.has(request.org)) {
    return refused('not-authorised', `This gateway may not act for ${request.org}.`)
  }
  const addresses = request.recipients.flatMap((text) => parseAddress(text) ?? [])
  const persons = await personsOf(parts, request, addresses)
  const now = parts.clock.now()
  return await parts.store.transact(async (tx) => {
    const verdict = await examine(tx, caller, request, addresses, now)
    if (verdict.kind === 'refused') {
      recordRefusal(parts, tx, caller, request, verdict, now)
      return verdict
    }
    const until = verdict.until
    const held = { kind: 'held', until: new Date(until).toISOString() } as const
    if (verdict.kind === 'again') return held
    const { id, sealed, org, instance } = request
    await tx.envelopes.confirm(id, now)
    await tx.envelopes.addCopy({ envelope: id, ...sealed, gateway: caller.gateway, at: now })
    await tx.holds.add(id, now, until, addresses)
    parts.journal.append(tx, org, persons, (name) => ({
      ...{ kind: 'held', time: new Date(now).toISOString(), request: caller.requestId, envelope: id },
      ...{ gateway: caller.gateway, instance, recipients: addresses.map((address) => name.person(address)) },
      ...{ part: { number: 1, of: 1 }, copy: sealed, until: held.until },
    }))
    parts.metrics.count('sealpost_holds_total', { event: 'held' })
    return held
  })
}

/** Only for recipients of an envelope that is there: nobody gets a place among the persons because a gateway named them. */
async function personsOf(parts: Parts, { org, id }: HoldRequest, addresses: readonly Address[]): Promise<Persons> {
  const known = await parts.store.read(async (reads) => {
    const envelope = await reads.envelopes.find(id)
    return envelope?.org === org ? await reads.envelopes.recipients(id) : []
  })
  const recipients = new Set(known.map(({ address }) => address))
  return await parts.journal.persons(
    org,
    addresses.filter((address) => recipients.has(address)),
  )
}

type Examined = Refused | { readonly kind: 'new' | 'again'; readonly until: number }

async function examine(
  tx: Tx,
  caller: Caller,
  request: HoldRequest,
  addresses: readonly Address[],
  now: number,
): Promise<Examined> {
  const envelope = await tx.envelopes.find(request.id)
  if (envelope === null || envelope.org !== request.org) return refused('not-found', 'There is no such envelope.')
  if (addresses.length !== request.recipients.length) return refused('bad-request', 'A recipient is not an address.')
  const all = new Map((await tx.envelopes.recipients(request.id)).map((one) => [one.address, one] as const))
  const recipients = addresses.flatMap((address) => all.get(address) ?? [])
  if (recipients.length !== addresses.length) return refused('not-found', 'A recipient is none of this envelope.')
  const hold = await tx.holds.find(request.id)
  if (hold !== null) {
    const copy = await tx.envelopes.copy(request.id, request.sealed.digest)
    if (copy?.gateway === caller.gateway) return { kind: 'again', until: hold.until }
  }
  return judgeHold(envelope, hold, recipients, now)
}

/** Whether an envelope can be confirmed as held now. Pure. */
function judgeHold(envelope: Envelope, hold: Hold | null, recipients: readonly Recipient[], now: number): Examined {
  if (envelope.revokedAt !== null) return refused('revoked', 'The message was revoked.')
  if (hold !== null) return refused('conflict', 'Another copy of this message is held already.')
  if (envelope.kind !== 'hold' || envelope.expiresAt === null) {
    return refused('bad-request', 'Only what was issued to be held can be held.')
  }
  if (isOver(envelope, now)) return refused('expired', 'The envelope waited too long to be confirmed.')
  if (recipients.some(({ state }) => state !== 'open')) {
    return refused('conflict', 'A recipient has had this message already.')
  }
  return { kind: 'new', until: envelope.expiresAt }
}

function recordRefusal(
  { journal }: Parts,
  tx: Tx,
  caller: Caller,
  request: HoldRequest,
  { code, detail }: Refused,
  now: number,
): void {
  journal.append(tx, request.org, new Map(), () => ({
    ...{ kind: 'confirm-refused', time: new Date(now).toISOString(), request: caller.requestId },
    ...{ envelope: request.id, gateway: caller.gateway, code, reason: detail },
  }))
}

/** What is to become of a copy that a gateway keeps. Reads only: gateways ask again after each start. */
export async function fateOf(parts: Parts, gateway: string, request: HoldFateRequest): Promise<HoldFate> {
  const { org, id, digest } = request
  const now = parts.clock.now()
  const { envelope, hold, copy } = await parts.store.read(async (reads) => ({
    envelope: await reads.envelopes.find(id),
    hold: await reads.holds.find(id),
    copy: await reads.envelopes.copy(id, digest),
  }))
  // A database that was restored from an older backup: what it has no key of any more will never be opened.
  if (envelope === null || envelope.org !== org) return { kind: 'expired' }
  if (envelope.revokedAt !== null) return { kind: 'gone' }
  if (hold === null) return { kind: isOver(envelope, now) ? 'gone' : 'waiting' }
  if (copy?.gateway !== gateway) return { kind: 'gone' }
  switch (hold.state) {
    case 'held':
      return { kind: 'held' }
    case 'returned':
      return { kind: 'returned', reason: hold.decided?.officer == null ? null : hold.decided.reason }
    case 'let-go': {
      if (isOver(envelope, now) || envelope.expiresAt === null) return { kind: 'expired' }
      return {
        kind: 'let-go',
        link: linkOf(parts.config, org, id),
        expiresAt: new Date(envelope.expiresAt).toISOString(),
      }
    }
  }
}
