import type { Static, TSchema } from '@sinclair/typebox'
import { Ajv } from 'ajv'
import {
  ActivePolicy,
  Changes,
  type ConfirmRequest,
  type ConfirmResult,
  type HandledRequest,
  HandledResult,
  type IssueRequest,
  type IssueResult,
  type OutcomeRequest,
  type OutcomeResult,
  SigningKeys,
  StepsResult,
} from '../protocol/gateway-api.ts'
import { HoldFate, type HoldFateRequest, type HoldRequest, HoldResult } from '../protocol/hold-api.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { noTracer, type Point, type Span, type Tracer } from '../telemetry/tracer.ts'
import { type Bulk, createBulk } from './bulk.ts'
import { GatewayError } from './error.ts'
import type { MtlsAnswer, MtlsClient } from './mtls-client.ts'
import { newId } from './trace.ts'

/** What the gateway asks of the key server. Every call rejects only with a {@link GatewayError} `key-server`, which is temporary. */
export type KeyServer = {
  readonly issue: Bulk<IssueRequest, IssueResult>
  readonly confirm: Bulk<ConfirmRequest, ConfirmResult>
  readonly outcome: Bulk<OutcomeRequest, OutcomeResult>
  handled(request: HandledRequest): Promise<HandledResult>
  /** Confirms that an envelope is held here. */
  hold(request: Omit<HoldRequest, 'instance'>): Promise<HoldResult>
  holdFate(request: HoldFateRequest): Promise<HoldFate>
  /** The active policy; `unchanged` if it still has the hash `known`; null while none is active. */
  policy(org: OrgId, known: string | null): Promise<ActivePolicy | 'unchanged' | null>
  changes(after: number): Promise<Changes>
  keys(): Promise<SigningKeys>
  /** Whether the last call was answered. */
  reachable(): boolean
}

type IssueStep = { readonly kind: 'issue'; readonly request: IssueRequest; readonly from: Point }
type ConfirmStep = { readonly kind: 'confirm'; readonly request: ConfirmRequest; readonly from: Point }
type OutcomeStep = { readonly kind: 'outcome'; readonly request: OutcomeRequest; readonly from: Point }
type Step = IssueStep | ConfirmStep | OutcomeStep
type Result = IssueResult | ConfirmResult | OutcomeResult
const KINDS = ['issue', 'confirm', 'outcome'] as const

/** `instance` is random per start: the key server tells a restart from a second attempt by it. */
export function createKeyServer(client: MtlsClient, tracer: Tracer = noTracer): KeyServer {
  const ajv = new Ajv({ strict: false })
  const instance = newId()
  let reachable = false

  async function ask(...[method, path, options]: Parameters<MtlsClient['call']>): Promise<MtlsAnswer> {
    try {
      const answer = await client.call(method, path, { ...options, traceparent: tracer.here()?.traceparent })
      reachable = answer.status < 500
      return answer
    } catch (cause) {
      reachable = false
      throw new GatewayError('key-server', { message: `${method} ${path} was not answered`, cause })
    }
  }

  function reader<T extends TSchema>(schema: T): (answer: MtlsAnswer, path: string) => Static<T> {
    const fits = ajv.compile<Static<T>>(schema)
    return (answer, path) => {
      const { body } = answer
      if (answer.status === 200 && fits(body)) return body
      const why = answer.status === 200 ? ajv.errorsText(fits.errors) : `status ${answer.status} ${codeOf(body)}`
      throw new GatewayError('key-server', { message: `${path}: ${why}` })
    }
  }

  const readSteps = reader(StepsResult)
  let crowded = false
  const step = createBulk<Step, Result>({
    // Alone, a gateway works for one half of its messages while the key server does for the other. Where others keep the key server busy, it costs all of them
    // less to send more at once: 15 ms are enough for all whom the last call served to seal, or to deliver next door, and be back.
    patienceMs: () => (crowded ? 15 : 0),
    // A single request with 1,000 recipients has about 400,000 characters.
    most: { items: 256, characters: 500_000 },
    encode: ({ request }) => JSON.stringify(request),
    async send(items) {
      const of = (kind: Step['kind']) => items.filter(({ request }) => request.kind === kind).map(({ body }) => body)
      const lists = KINDS.map((kind) => `"${kind}":[${of(kind).join(',')}]`)
      const path = '/v1/steps'
      const body = `{"instance":"${instance}",${lists.join(',')}}`
      // One call serves many messages: it is part of the first one's trace, and linked to the others'.
      const [from = null, ...links] = items.map(({ request }) => request.from)
      const call = { method: 'POST', route: path }
      const post = async (span: Span) => {
        const answer = await ask('POST', path, { body })
        span.note({ method: 'POST', code: answer.status })
        const steps = readSteps(answer, path)
        crowded = steps.crowded === true
        return steps
      }
      const answer = await tracer.within(`POST ${path}`, call, post, { kind: 'client', from, links })
      const results = {
        issue: answer.issue.values(),
        confirm: answer.confirm.values(),
        outcome: answer.outcome.values(),
      }
      return items.map(({ request: { kind } }): Result | undefined => results[kind].next().value)
    },
  })

  /** The kinds of results are each a step's own, but for refusals. */
  function stepOf<S extends Step, R extends Result>(kind: S['kind'], good: R['kind']) {
    return async (request: S['request']): Promise<R> => {
      // The one of the steps that has this kind has this request.
      const result = await step({ kind, request, from: tracer.here() } as S)
      if (result.kind === 'refused' && result.code === 'unavailable') {
        throw new GatewayError('key-server', { message: `${kind}: ${result.detail}` })
      }
      if (result.kind === good || result.kind === 'refused') return result as R
      throw new GatewayError('key-server', { message: `${kind} was answered by ${result.kind}` })
    }
  }

  const readHandled = reader(HandledResult)
  const readHold = reader(HoldResult)
  const readFate = reader(HoldFate)
  const readPolicy = reader(ActivePolicy)
  const readChanges = reader(Changes)
  const readKeys = reader(SigningKeys)
  return {
    issue: stepOf<IssueStep, IssueResult>('issue', 'issued'),
    confirm: stepOf<ConfirmStep, ConfirmResult>('confirm', 'confirmed'),
    outcome: stepOf<OutcomeStep, OutcomeResult>('outcome', 'recorded'),
    async handled(request) {
      return readHandled(await ask('POST', '/v1/handled', { body: JSON.stringify(request) }), '/v1/handled')
    },
    async hold(request) {
      return readHold(await ask('POST', '/v1/hold', { body: JSON.stringify({ ...request, instance }) }), '/v1/hold')
    },
    async holdFate(request) {
      const path = '/v1/hold/fate'
      return readFate(await ask('POST', path, { body: JSON.stringify(request) }), path)
    },
    async policy(org, known) {
      const path = `/v1/policies/${encodeURIComponent(org)}`
      const answer = await ask('GET', path, { ifNoneMatch: known === null ? null : `"${known}"` })
      if (answer.status === 304) return 'unchanged'
      return answer.status === 404 ? null : readPolicy(answer, path)
    },
    async changes(after) {
      const path = `/v1/changes?after=${after}`
      return readChanges(await ask('GET', path), path)
    },
    async keys() {
      return readKeys(await ask('GET', '/v1/keys'), '/v1/keys')
    },
    reachable: () => reachable,
  }
}

/** The stable code of a problem, nothing else of it. */
function codeOf(body: unknown): string {
  const known = typeof body === 'object' && body !== null && 'code' in body && typeof body.code === 'string'
  return known && typeof body.code === 'string' ? body.code.slice(0, 64) : ''
}
