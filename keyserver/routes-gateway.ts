import { type TSchema, Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import {
  bulk,
  ConfirmRequest,
  ConfirmResult,
  IssueRequest,
  IssueResult,
  OutcomeRequest,
  OutcomeResult,
} from '../protocol/gateway-api.ts'
import { clientIn } from './client.ts'
import { confirm } from './confirm.ts'
import { trustedTime } from './door.ts'
import { issue } from './issue.ts'
import { recordOutcome } from './outcome.ts'
import type { Parts } from './parts.ts'
import { failures } from './schemas.ts'

/** A full call: 256 messages of a few hundred recipients each. */
const BULK_LIMIT = 16 * 1024 * 1024

type Bulk<T> = { readonly instance: string; readonly requests: readonly T[] }

/**
 * POST /v1/issue, /v1/confirm and /v1/outcome: each item is decided alone, all of them share commits. While the clock is behind nothing
 * is issued or confirmed, for it would expire at a wrong time; outcomes are always taken.
 */
export function bulkRoutes(app: FastifyInstance, parts: Parts): void {
  app.post<{ Body: Bulk<IssueRequest> }>(
    '/v1/issue',
    options('Issue envelopes', bulk(IssueRequest), IssueResult),
    async (request) => {
      const caller = callerOf(request)
      trustedTime(parts.clock)
      return { results: await Promise.all(request.body.requests.map((item) => issue(parts, caller, item))) }
    },
  )
  app.post<{ Body: Bulk<ConfirmRequest> }>(
    '/v1/confirm',
    options('Confirm the next delivery of envelopes', bulk(ConfirmRequest), ConfirmResult),
    async (request) => {
      const caller = callerOf(request)
      trustedTime(parts.clock)
      return { results: await Promise.all(request.body.requests.map((item) => confirm(parts, caller, item))) }
    },
  )
  app.post<{ Body: Bulk<OutcomeRequest> }>(
    '/v1/outcome',
    options('Report what became of deliveries', bulk(OutcomeRequest), OutcomeResult),
    async (request) => {
      const caller = callerOf(request)
      return { results: await Promise.all(request.body.requests.map((item) => recordOutcome(parts, caller, item))) }
    },
  )
}

function callerOf(request: FastifyRequest<{ Body: Bulk<unknown> }>) {
  const { name, organizations } = clientIn(request)
  return { gateway: name, instance: request.body.instance, organizations, requestId: request.id }
}

function options(summary: string, body: TSchema, result: TSchema) {
  return {
    config: { auth: 'gateway' },
    bodyLimit: BULK_LIMIT,
    schema: {
      summary,
      tags: ['gateway'],
      body,
      response: { 200: Type.Object({ results: Type.Array(result) }), ...failures },
    },
  } as const
}
