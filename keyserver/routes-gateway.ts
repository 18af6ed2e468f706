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
  StepsRequest,
  StepsResult,
} from '../protocol/gateway-api.ts'
import { clientIn } from './client.ts'
import { confirm } from './confirm.ts'
import { createCrowd } from './crowd.ts'
import { trustedTime } from './door.ts'
import { KeyServerError } from './error.ts'
import { issue } from './issue.ts'
import { recordOutcome } from './outcome.ts'
import type { Parts } from './parts.ts'
import { type Refused, refused } from './refused.ts'
import { failures } from './schemas.ts'

/** A full call: 256 messages of a few hundred recipients each. */
const BULK_LIMIT = 16 * 1024 * 1024

type Bulk<T> = { readonly instance: string; readonly requests: readonly T[] }
type Caller = ReturnType<typeof callerOf>

/**
 * POST /v1/issue, /v1/confirm and /v1/outcome, and /v1/steps for all three: each item is decided alone, all of them share commits. While the clock is behind nothing
 * is issued or confirmed, for it would expire at a wrong time; outcomes are always taken.
 */
export function bulkRoutes(app: FastifyInstance, parts: Parts): void {
  app.post<{ Body: Bulk<IssueRequest> }>(
    '/v1/issue',
    options('Issue envelopes', bulk(IssueRequest), resultsOf(IssueResult)),
    async (request) => {
      const caller = callerOf(request)
      trustedTime(parts.clock)
      return { results: await Promise.all(request.body.requests.map((item) => issue(parts, caller, item))) }
    },
  )
  app.post<{ Body: Bulk<ConfirmRequest> }>(
    '/v1/confirm',
    options('Confirm the next delivery of envelopes', bulk(ConfirmRequest), resultsOf(ConfirmResult)),
    async (request) => {
      const caller = callerOf(request)
      trustedTime(parts.clock)
      return { results: await Promise.all(request.body.requests.map((item) => confirm(parts, caller, item))) }
    },
  )
  app.post<{ Body: Bulk<OutcomeRequest> }>(
    '/v1/outcome',
    options('Report what became of deliveries', bulk(OutcomeRequest), resultsOf(OutcomeResult)),
    async (request) => {
      const caller = callerOf(request)
      return { results: await Promise.all(request.body.requests.map((item) => recordOutcome(parts, caller, item))) }
    },
  )
  const crowd = createCrowd()
  app.post<{ Body: StepsRequest }>(
    '/v1/steps',
    options('Issue, confirm and report in one call', StepsRequest, StepsResult),
    async (request) => {
      const crowded = crowd.calls(request.body.instance, performance.now())
      return { ...(await takeSteps(parts, callerOf(request), request.body)), crowded }
    },
  )
}

/** As the three calls would, each item for itself: while nothing can be issued, say, outcomes are taken. Throws where that holds for all. */
async function takeSteps(parts: Parts, caller: Caller, steps: StepsRequest): Promise<StepsResult> {
  const faults: KeyServerError[] = []
  const timely = async <T>(act: () => Promise<T>): Promise<T | Refused> => {
    try {
      return await act()
    } catch (cause) {
      if (!(cause instanceof KeyServerError) || cause.code !== 'unavailable') throw cause
      faults.push(cause)
      return refused('unavailable', cause.message)
    }
  }
  const timed = <T>(act: () => Promise<T>) =>
    timely(() => {
      trustedTime(parts.clock)
      return act()
    })
  const { issue: issues = [], confirm: confirms = [], outcome: outcomes = [] } = steps
  const [issued, confirmed, recorded] = await Promise.all([
    Promise.all(issues.map((item) => timed(() => issue(parts, caller, item)))),
    Promise.all(confirms.map((item) => timed(() => confirm(parts, caller, item)))),
    Promise.all(outcomes.map((item) => timely(() => recordOutcome(parts, caller, item)))),
  ])
  const [fault] = faults
  if (fault !== undefined && faults.length === issues.length + confirms.length + outcomes.length) throw fault
  return { issue: issued, confirm: confirmed, outcome: recorded }
}

function callerOf(request: FastifyRequest<{ Body: { readonly instance: string } }>) {
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
      response: { 200: result, ...failures },
    },
  } as const
}

function resultsOf(item: TSchema) {
  return Type.Object({ results: Type.Array(item) })
}
