import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { ActivePolicy, Changes, HandledRequest, HandledResult, SigningKeys } from '../protocol/gateway-api.ts'
import { type Address, type OrgId, parseAddress, patterns } from '../protocol/identifiers.ts'
import { clientIn } from './client.ts'
import { KeyServerError } from './error.ts'
import { linkOf, type Parts } from './parts.ts'
import { failures } from './schemas.ts'
import type { Recipient } from './store.ts'

const auth = { auth: 'gateway' } as const
/** Changes in one answer. */
const PAGE = 1000

/** What gateways read: policies, keys, changes, and whether a mail is one of theirs. */
export function feedRoutes(app: FastifyInstance, parts: Parts): void {
  policyRoute(app, parts)
  changesRoute(app, parts)
  handledRoute(app, parts)
  const schema = { summary: 'Public signing keys', tags: ['gateway'], response: { 200: SigningKeys, ...failures } }
  app.get('/v1/keys', { config: auth, schema }, async () => ({ keys: [parts.keyring.signer.jwk] }))
}

function policyRoute(app: FastifyInstance, parts: Parts): void {
  const params = Type.Object({ org: Type.Unsafe<OrgId>({ type: 'string', pattern: patterns.orgId, maxLength: 253 }) })
  const schema = {
    summary: 'The policy in force',
    tags: ['gateway'],
    params,
    response: { 200: ActivePolicy, 304: Type.Null(), ...failures },
  }
  app.get<{ Params: { org: OrgId } }>('/v1/policies/:org', { config: auth, schema }, async (request, reply) => {
    const { org } = request.params
    requireOrganization(clientIn(request).organizations, org)
    const policy = parts.policies.active(org)
    if (policy === null) throw new KeyServerError('not-found', { detail: `No policy is in force for ${org}.` })
    reply.header('etag', `"${policy.hash}"`).header('cache-control', 'no-cache')
    if (request.headers['if-none-match'] === `"${policy.hash}"`) return await reply.code(304).send()
    return { org, hash: policy.hash, text: policy.text }
  })
}

function changesRoute(app: FastifyInstance, parts: Parts): void {
  // A query is text: its numbers are held to a pattern, so that nothing has to be bent to a type.
  const querystring = Type.Object(
    { after: Type.Optional(Type.String({ pattern: '^(0|[1-9][0-9]{0,15})$' })) },
    { additionalProperties: false },
  )
  const schema = {
    summary: 'What happened to envelopes of this gateway',
    tags: ['gateway'],
    querystring,
    response: { 200: Changes, ...failures },
  }
  app.get<{ Querystring: { after?: string } }>('/v1/changes', { config: auth, schema }, async (request) => {
    const after = Number(request.query.after ?? 0)
    const { name } = clientIn(request)
    const changes = await parts.store.read((reads) => reads.changes.after(name, after, PAGE))
    return { changes: [...changes], next: changes.at(-1)?.cursor ?? after }
  })
}

function handledRoute(app: FastifyInstance, parts: Parts): void {
  const schema = {
    summary: 'Whether a sealed copy was confirmed for this organization, and who has it',
    tags: ['gateway'],
    body: HandledRequest,
    response: { 200: HandledResult, ...failures },
  }
  app.post<{ Body: HandledRequest }>('/v1/handled', { config: auth, schema }, async (request) => {
    const { org, id, digest, recipients = [] } = request.body
    requireOrganization(clientIn(request).organizations, org)
    return await parts.store.read(async ({ envelopes }): Promise<HandledResult> => {
      const envelope = await envelopes.find(id)
      if (envelope?.org !== org) return { handled: false, notice: null, reached: [] }
      const reached = recipients.length === 0 ? [] : reachedOf(recipients, await envelopes.recipients(id))
      const copy = digest === undefined ? null : await envelopes.copy(id, digest)
      if (copy === null || envelope.kind === 'hold' || envelope.confirmedAt === null || envelope.expiresAt === null) {
        return { handled: false, notice: null, reached }
      }
      const expiresAt = new Date(envelope.expiresAt).toISOString()
      return { handled: true, notice: { link: linkOf(parts.config, org, id), expiresAt }, reached }
    })
  })
}

/** Those who have their copy, or may have it. */
function reachedOf(asked: readonly Address[], recipients: readonly Recipient[]): Address[] {
  const had = new Set(
    recipients.flatMap(({ address, state }) => (state === 'sent' || state === 'unknown' ? [address] : [])),
  )
  return asked.filter((text) => {
    const address = parseAddress(text)
    return address !== null && had.has(address)
  })
}

function requireOrganization(organizations: ReadonlySet<OrgId>, org: OrgId): void {
  if (organizations.has(org)) return
  throw new KeyServerError('not-authorised', { detail: `This certificate may not act for ${org}.` })
}
