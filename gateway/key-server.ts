import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { Ajv } from 'ajv'
import {
  ActivePolicy,
  Changes,
  type ConfirmRequest,
  ConfirmResult,
  type HandledRequest,
  HandledResult,
  type IssueRequest,
  IssueResult,
  type OutcomeRequest,
  OutcomeResult,
  SigningKeys,
} from '../protocol/gateway-api.ts'
import type { OrgId } from '../protocol/identifiers.ts'
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
  /** The active policy; `unchanged` if it still has the hash `known`; null while none is active. */
  policy(org: OrgId, known: string | null): Promise<ActivePolicy | 'unchanged' | null>
  changes(after: number): Promise<Changes>
  keys(): Promise<SigningKeys>
  /** Whether the last call was answered. */
  reachable(): boolean
}

/** `instance` is random per start: the key server tells a restart from a second attempt by it. */
export function createKeyServer(client: MtlsClient): KeyServer {
  const ajv = new Ajv({ strict: false })
  const instance = newId()
  let reachable = false

  async function ask(...call: Parameters<MtlsClient['call']>): Promise<MtlsAnswer> {
    try {
      const answer = await client.call(...call)
      reachable = answer.status < 500
      return answer
    } catch (cause) {
      reachable = false
      throw new GatewayError('key-server', { message: `${call[0]} ${call[1]} was not answered`, cause })
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

  function bulkOf<Request, T extends TSchema>(path: string, result: T): Bulk<Request, Static<T>> {
    const read = reader(Type.Object({ results: Type.Array(result) }))
    return createBulk({
      // One: what waits meanwhile shares the next call, and the key server's next fsync.
      lanes: 1,
      // A single request with 1,000 recipients has about 400,000 characters.
      most: { items: 256, characters: 500_000 },
      encode: (request) => JSON.stringify(request),
      async send(requests) {
        const body = `{"instance":"${instance}","requests":[${requests.join(',')}]}`
        return read(await ask('POST', path, { body }), path).results
      },
    })
  }

  const readHandled = reader(HandledResult)
  const readPolicy = reader(ActivePolicy)
  const readChanges = reader(Changes)
  const readKeys = reader(SigningKeys)
  return {
    issue: bulkOf('/v1/issue', IssueResult),
    confirm: bulkOf('/v1/confirm', ConfirmResult),
    outcome: bulkOf('/v1/outcome', OutcomeResult),
    async handled(request) {
      return readHandled(await ask('POST', '/v1/handled', { body: JSON.stringify(request) }), '/v1/handled')
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
