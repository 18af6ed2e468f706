import type { ConfirmRequest, ConfirmResult } from '../protocol/gateway-api.ts'
import { type Address, type OrgId, parseAddress } from '../protocol/identifiers.ts'
import type { Persons } from './journal.ts'
import type { Parts } from './parts.ts'
import { type Refused, refused } from './refused.ts'
import { type Attempt, isHeld, isOver, LEASE } from './retry.ts'
import type { Envelope, Lease, Recipient, Tx } from './store.ts'

type Caller = Attempt & { readonly organizations: ReadonlySet<OrgId>; readonly requestId: string }

/**
 * Confirms one delivery: what was sealed is kept, its recipients become `unknown` and are leased to this attempt. Said twice by the same
 * attempt for the same sealing, it is one. Expected refusals are values.
 */
export async function confirm(parts: Parts, caller: Caller, request: ConfirmRequest): Promise<ConfirmResult> {
  const addresses = request.recipients.flatMap((text) => parseAddress(text) ?? [])
  const allowed = caller.organizations.has(request.org)
  const persons: Persons = allowed ? await personsOf(parts, request, addresses) : new Map()
  const now = parts.clock.now()
  return await parts.store.transact(async (tx) => {
    const verdict = allowed
      ? await examine(tx, caller, request, addresses, { now, leases: parts.clock.leases() })
      : refused('not-authorised', `This gateway may not act for ${request.org}.`)
    if (verdict.kind === 'refused') {
      recordRefusal(parts, tx, caller, request, verdict, now)
      return verdict
    }
    await tx.envelopes.confirm(request.id, now)
    if (request.sealed !== undefined) {
      await tx.envelopes.addCopy({ envelope: request.id, ...request.sealed, gateway: caller.gateway, at: now })
    }
    const until = now + (request.leaseSeconds === undefined ? LEASE : request.leaseSeconds * 1000)
    const lease = { gateway: caller.gateway, instance: caller.instance, until }
    for (const { address, state, lease: before } of verdict.recipients) {
      // A delivery that was confirmed before and never reported may have arrived.
      if (state === 'unknown' && before?.instance !== caller.instance) await tx.envelopes.doubt(request.id, address)
      await tx.envelopes.setRecipient(request.id, address, 'unknown', lease)
    }
    record(parts, tx, caller, request, addresses, persons, now)
    parts.metrics.count('sealpost_confirmed_total')
    return { kind: 'confirmed' }
  })
}

/** Only for recipients of an envelope that is there: nobody gets a place among the persons because a gateway named them. */
async function personsOf(parts: Parts, request: ConfirmRequest, addresses: readonly Address[]): Promise<Persons> {
  const acquainted = parts.journal.acquainted(request.org, addresses)
  if (addresses.every((address) => acquainted.has(address))) return acquainted
  const known = await parts.store.read(async (reads) => {
    const envelope = await reads.envelopes.find(request.id)
    if (envelope?.org !== request.org) return []
    const recipients = new Set((await reads.envelopes.recipients(request.id)).map(({ address }) => address))
    return addresses.filter((address) => recipients.has(address))
  })
  return await parts.journal.persons(request.org, known)
}

async function examine(
  tx: Tx,
  caller: Caller,
  request: ConfirmRequest,
  addresses: readonly Address[],
  { now, leases }: { readonly now: number; readonly leases: number },
): Promise<Refused | { readonly kind: 'good'; readonly recipients: readonly Recipient[] }> {
  const envelope = await tx.envelopes.find(request.id)
  if (envelope === null || envelope.org !== request.org) return refused('not-found', 'There is no such envelope.')
  const dead = judgeEnvelope(envelope, request)
  if (dead !== null) return dead
  const all = new Map((await tx.envelopes.recipients(request.id)).map((one) => [one.address, one] as const))
  if (addresses.length !== request.recipients.length) return refused('bad-request', 'A recipient is not an address.')
  const recipients = addresses.flatMap((address) => all.get(address) ?? [])
  if (recipients.length !== addresses.length) return refused('not-found', 'A recipient is none of this envelope.')
  // Whether it is over by now or not: nobody is to be told that it did not arrive.
  if (recipients.some(({ state }) => state === 'sent' || state === 'failed')) {
    return refused('already-sent', 'A recipient has had this message already.')
  }
  if (isOver(envelope, now)) {
    return envelope.confirmedAt === null
      ? refused('never-confirmed', 'The envelope waited too long to be confirmed.')
      : refused('expired', 'The envelope expired.')
  }
  for (const { lease } of recipients) {
    // The same sealing by the same instance is the same attempt, whose answer got lost; another sealing is another attempt.
    const again = isOwn(lease, caller) && (await isKnown(tx, request))
    if (!again && isHeld(lease, caller, leases)) {
      return refused('conflict', 'Another delivery to a recipient is under way.')
    }
  }
  return { kind: 'good', recipients }
}

function isOwn(lease: Lease | null, caller: Caller): boolean {
  return lease !== null && lease.gateway === caller.gateway && lease.instance === caller.instance
}

async function isKnown(tx: Tx, { id, sealed }: ConfirmRequest): Promise<boolean> {
  return sealed !== undefined && (await tx.envelopes.copy(id, sealed.digest)) !== null
}

function judgeEnvelope(envelope: Envelope, request: ConfirmRequest): Refused | null {
  if (envelope.kind === 'refuse') return refused('conflict', 'What was refused is not delivered.')
  if (envelope.kind === 'hold') return refused('conflict', 'What is held is delivered when an officer has let it go.')
  if ((envelope.kind === 'seal') !== (request.sealed !== undefined)) {
    return refused('bad-request', 'A sealing goes with a sealed envelope, and only with one.')
  }
  return envelope.revokedAt === null ? null : refused('revoked', 'The message was revoked.')
}

function record(
  { journal }: Parts,
  tx: Tx,
  caller: Caller,
  request: ConfirmRequest,
  addresses: readonly Address[],
  persons: Persons,
  now: number,
): void {
  journal.append(tx, request.org, persons, (name) => ({
    kind: 'confirmed',
    time: new Date(now).toISOString(),
    request: caller.requestId,
    envelope: request.id,
    gateway: caller.gateway,
    instance: caller.instance,
    recipients: addresses.map((address) => name.person(address)),
    part: { number: 1, of: 1 },
    copy: request.sealed ?? null,
  }))
}

function recordRefusal(
  { journal }: Parts,
  tx: Tx,
  caller: Caller,
  request: ConfirmRequest,
  { code, detail }: Refused,
  now: number,
): void {
  const log = code === 'not-authorised' ? 'server' : request.org
  journal.append(tx, log, new Map(), () => ({
    kind: 'confirm-refused',
    time: new Date(now).toISOString(),
    request: caller.requestId,
    envelope: request.id,
    gateway: caller.gateway,
    code,
    reason: detail,
  }))
}
