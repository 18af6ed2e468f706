import type { FastifyInstance } from 'fastify'
import { ClockAccepted, ClockAcceptRequest, OfficerRevokeRequest, Revoked } from '../protocol/gateway-api.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { byOfficer, type Client, clientIn } from './client.ts'
import { KeyServerError } from './error.ts'
import { nobody } from './journal.ts'
import type { Parts } from './parts.ts'
import { failures } from './schemas.ts'

const auth = { auth: 'officer' } as const

/** What officers do by their certificates. */
export function officerRoutes(app: FastifyInstance, parts: Parts): void {
  const revoke = {
    summary: 'Revoke an envelope',
    tags: ['officer'],
    body: OfficerRevokeRequest,
    response: { 200: Revoked, ...failures },
  }
  app.post<{ Body: OfficerRevokeRequest }>('/v1/revoke', { config: auth, schema: revoke }, async (request) =>
    revokeByOfficer(parts, clientIn(request), request.body, request.id),
  )
  const accept = {
    summary: 'Say that the clock is right',
    tags: ['officer'],
    body: ClockAcceptRequest,
    response: { 200: ClockAccepted, ...failures },
  }
  app.post<{ Body: ClockAcceptRequest }>('/v1/clock', { config: auth, schema: accept }, async (request) =>
    acceptClock(parts, clientIn(request), request.body.reason, request.id),
  )
}

/** Refuses every later opening, at once. Revoked before, it stays as it was. */
async function revokeByOfficer(
  parts: Parts,
  officer: Client,
  { org, id, reason }: OfficerRevokeRequest,
  requestId: string,
): Promise<Revoked> {
  const now = parts.clock.now()
  const head = { time: new Date(now).toISOString(), request: requestId }
  const by = byOfficer(officer)
  if (!officer.organizations.has(org)) {
    await parts.store.transact(
      async (tx) =>
        parts.journal.append(tx, 'server', nobody, () => ({
          ...head,
          kind: 'revoke-refused',
          envelope: id,
          by,
          reason: 'not-authorised',
        })),
      'upkeep',
    )
    throw new KeyServerError('not-authorised', { detail: `This certificate may not act for ${org}.` })
  }
  const revokedAt = await parts.store.transact(async (tx) => {
    const envelope = await tx.envelopes.find(id)
    if (envelope === null || envelope.org !== org || (envelope.kind !== 'seal' && envelope.kind !== 'hold')) {
      parts.journal.append(tx, org, nobody, () => ({
        ...head,
        kind: 'revoke-refused',
        envelope: id,
        by,
        reason: 'not-found',
      }))
      return null
    }
    if (envelope.revokedAt !== null) return envelope.revokedAt
    await tx.envelopes.revoke(id, now)
    await tx.changes.add(id, 'revoked', now)
    parts.journal.append(tx, org, nobody, () => ({
      ...head,
      kind: 'revoked',
      envelope: id,
      by,
      reason: reason.toWellFormed(),
    }))
    return now
  }, 'urgent')
  if (revokedAt === null) throw new KeyServerError('not-found', { detail: 'There is no such envelope.' })
  return { id, revokedAt: new Date(revokedAt).toISOString() }
}

async function acceptClock(parts: Parts, officer: Client, reason: string, requestId: string): Promise<ClockAccepted> {
  const { clock, store, journal, config } = parts
  const observed = clock.now()
  const highest = clock.highest()
  await store.transact(async (tx) => {
    await tx.meta.set('highest-time', String(observed))
    await tx.meta.set('shredding', '')
    const at = new Date(observed).toISOString()
    const head = { time: at, request: requestId }
    const accepted = { ...head, kind: 'clock', state: 'accepted', observed: at } as const
    // Into each log, because each is verified alone, and what follows may bear earlier times.
    for (const log of ['server', ...(Object.keys(config.organizations) as OrgId[])] as const) {
      journal.append(tx, log, nobody, () => ({ ...accepted, highest: new Date(highest).toISOString() }))
    }
    const act = { ...head, kind: 'act', act: 'clock-accept', detail: reason.toWellFormed() } as const
    journal.append(tx, 'server', nobody, () => ({ ...act, by: byOfficer(officer) }))
  })
  clock.accept()
  return { now: new Date(clock.now()).toISOString() }
}
