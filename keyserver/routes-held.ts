import type { FastifyInstance, FastifyRequest } from 'fastify'
import {
  HeldDecisionRequest,
  HeldList,
  HeldListRequest,
  HeldMail,
  HeldShowRequest,
  HoldFate,
  HoldFateRequest,
  HoldRequest,
  HoldResult,
  LetGo,
  Returned,
} from '../protocol/hold-api.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { byOfficer, clientIn } from './client.ts'
import { trustedTime } from './door.ts'
import { KeyServerError } from './error.ts'
import { confirmHeld, fateOf } from './hold.ts'
import { letGo, sendBack } from './hold-decision.ts'
import { nobody } from './journal.ts'
import type { Parts } from './parts.ts'
import { failures } from './schemas.ts'
import type { Hold, Reads } from './store.ts'

/** In one answer, which an officer's command reads up to a megabyte of. */
const PAGE = { mails: 100, recipients: 10 }

/** What is held: gateways confirm it and ask for its fate, officers decide. Each look and each decision of an officer is in the log. */
export function heldRoutes(app: FastifyInstance, parts: Parts): void {
  gatewayRoutes(app, parts)
  lookRoutes(app, parts)
  decisionRoutes(app, parts)
}

function gatewayRoutes(app: FastifyInstance, parts: Parts): void {
  app.post<{ Body: HoldRequest }>(
    '/v1/hold',
    options('gateway', 'Confirm an envelope as held', HoldRequest, HoldResult),
    async (request) => {
      trustedTime(parts.clock)
      const { name, organizations } = clientIn(request)
      return await confirmHeld(parts, { gateway: name, organizations, requestId: request.id }, request.body)
    },
  )
  app.post<{ Body: HoldFateRequest }>(
    '/v1/hold/fate',
    options('gateway', 'What is to become of a held envelope', HoldFateRequest, HoldFate),
    async (request) => {
      const { name, organizations } = clientIn(request)
      requireOrganization(organizations, request.body.org)
      trustedTime(parts.clock)
      return await fateOf(parts, name, request.body)
    },
  )
}

function lookRoutes(app: FastifyInstance, parts: Parts): void {
  app.post<{ Body: HeldListRequest }>(
    '/v1/held/list',
    options('officer', 'Mail that waits for an officer', HeldListRequest, HeldList),
    async (request) => {
      const { org, skip = 0 } = request.body
      requireOrganization(clientIn(request).organizations, org)
      await recordLook(parts, request, org, 'held-list', skip === 0 ? '' : `from ${skip}`)
      return await parts.store.read(async (reads) => {
        const holds = await reads.holds.waiting(org, parts.clock.now(), skip, PAGE.mails + 1)
        const held: HeldMail[] = []
        for (const hold of holds.slice(0, PAGE.mails)) held.push(...(await mailOf(reads, org, hold, PAGE.recipients)))
        return { held, more: holds.length > PAGE.mails }
      })
    },
  )
  app.post<{ Body: HeldShowRequest }>(
    '/v1/held/show',
    options('officer', 'One mail that is or was held', HeldShowRequest, HeldMail),
    async (request) => {
      const { org, id } = request.body
      requireOrganization(clientIn(request).organizations, org)
      await recordLook(parts, request, org, 'held-show', id)
      const [found] = await parts.store.read(async (reads) => {
        const hold = await reads.holds.find(id)
        return hold === null ? [] : await mailOf(reads, org, hold)
      })
      if (found !== undefined) return found
      throw new KeyServerError('not-found', { detail: 'There is no such mail among those that were held.' })
    },
  )
}

function decisionRoutes(app: FastifyInstance, parts: Parts): void {
  app.post<{ Body: HeldDecisionRequest }>(
    '/v1/held/release',
    options('officer', 'Let a held mail go', HeldDecisionRequest, LetGo),
    async (request) => {
      const officer = clientIn(request)
      await requireOwn(parts, request, request.body, 'release')
      return await letGo(parts, { officer, requestId: request.id }, request.body)
    },
  )
  app.post<{ Body: HeldDecisionRequest }>(
    '/v1/held/return',
    options('officer', 'Send a held mail back', HeldDecisionRequest, Returned),
    async (request) => {
      const officer = clientIn(request)
      await requireOwn(parts, request, request.body, 'return')
      return await sendBack(parts, { officer, requestId: request.id }, request.body)
    },
  )
}

/** None where the envelope is another organization's. */
async function mailOf(reads: Reads, org: OrgId, hold: Hold, most = Number.POSITIVE_INFINITY): Promise<HeldMail[]> {
  const envelope = await reads.envelopes.find(hold.envelope)
  if (envelope === null || envelope.org !== org) return []
  const recipients = await reads.envelopes.recipients(hold.envelope)
  const [copy] = await reads.envelopes.copies(hold.envelope)
  const { decided } = hold
  const mail: HeldMail = {
    ...{ id: envelope.id, org, rule: envelope.rule, sender: envelope.sender, gateway: envelope.gateway },
    recipients: recipients.slice(0, most).map(({ address }) => address),
    recipientCount: recipients.length,
    size: copy?.plainSize ?? 0,
    heldAt: new Date(hold.at).toISOString(),
    until: new Date(hold.until).toISOString(),
    ttlSeconds: envelope.terms?.ttlSeconds ?? 0,
    state: envelope.revokedAt === null ? hold.state : 'revoked',
    decided: decided === null ? null : { ...decided, at: new Date(decided.at).toISOString() },
  }
  return [mail]
}

/** Who looked at what others sent to whom is in the log before it is shown. */
async function recordLook(
  parts: Parts,
  request: FastifyRequest,
  org: OrgId,
  act: string,
  detail: string,
): Promise<void> {
  const by = byOfficer(clientIn(request))
  const time = new Date(parts.clock.now()).toISOString()
  await parts.store.transact(async (tx) => {
    parts.journal.append(tx, org, nobody, () => ({ kind: 'act', time, request: request.id, by, act, detail }))
  }, 'upkeep')
}

/** An officer of other organizations who wants to decide here is in the server's own log. */
async function requireOwn(
  { store, journal, clock }: Parts,
  request: FastifyRequest,
  { org, id }: HeldDecisionRequest,
  asked: 'release' | 'return',
): Promise<void> {
  const officer = clientIn(request)
  if (officer.organizations.has(org)) return
  const head = { time: new Date(clock.now()).toISOString(), request: request.id, envelope: id }
  await store.transact(async (tx) => {
    journal.append(tx, 'server', nobody, () => ({
      ...{ ...head, kind: 'hold-refused', by: byOfficer(officer), asked, reason: 'not-authorised' },
    }))
  }, 'upkeep')
  requireOrganization(officer.organizations, org)
}

function requireOrganization(organizations: ReadonlySet<OrgId>, org: OrgId): void {
  if (organizations.has(org)) return
  throw new KeyServerError('not-authorised', { detail: `This certificate may not act for ${org}.` })
}

function options<B, R>(auth: 'gateway' | 'officer', summary: string, body: B, result: R) {
  return { config: { auth }, schema: { summary, tags: [auth], body, response: { 200: result, ...failures } } } as const
}
