import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { GatewayError } from '../../gateway/error.ts'
import type { KeyServer } from '../../gateway/key-server.ts'
import type { Log } from '../../gateway/log.ts'
import { keepOutcomes } from '../../gateway/outcome-keeper.ts'
import type { ConfirmRequest, IssueRequest, OutcomeRequest } from '../../protocol/gateway-api.ts'
import type { Address, EnvelopeId, OrgId } from '../../protocol/identifiers.ts'

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const named = { org: 'acme.example' as OrgId, id: 'AAAAAAAAAAAAAAAAAAAAAA' as EnvelopeId }
const sent: OutcomeRequest = { ...named, recipient: 'bob@example.org' as Address, outcome: 'sent', reply: '250 ok' }
// Only what is forwarded matters.
const anIssue = {} as IssueRequest

function scripted() {
  const calls: string[] = []
  const state = { down: true, lease: 0 }
  const say = async <T>(what: string, answer: T): Promise<T> => {
    if (state.down) throw new GatewayError('key-server')
    calls.push(what)
    return answer
  }
  const never = () => Promise.reject(new Error('not asked here'))
  const keyServer: KeyServer = {
    issue: () => say('issue', { kind: 'issued', envelopes: [] }),
    confirm: (request: ConfirmRequest) => {
      state.lease = request.leaseSeconds ?? 0
      return say('confirm', { kind: 'confirmed' })
    },
    outcome: () => say('outcome', { kind: 'recorded' }),
    handled: never,
    hold: never,
    holdFate: never,
    policy: never,
    changes: never,
    keys: never,
    reachable: () => !state.down,
  }
  return { calls, state, keyServer }
}

t.test('an outcome that could not be told rejects, is kept, and is told when the key server is back', async (t) => {
  const { calls, state, keyServer } = scripted()
  const keeping = keepOutcomes(keyServer, { leaseSeconds: 60, everyMs: 10, log: quiet })
  await t.rejects(keeping.outcome(sent), { code: 'key-server' })
  await sleep(50)
  state.down = false
  await sleep(50)
  t.same(calls, ['outcome'], 'once')
  await keeping.close()
})

t.test('it is told before anything else is issued', async (t) => {
  const { calls, state, keyServer } = scripted()
  const keeping = keepOutcomes(keyServer, { leaseSeconds: 60, everyMs: 60_000, log: quiet })
  await t.rejects(keeping.outcome(sent))
  state.down = false
  await keeping.issue(anIssue)
  await keeping.issue(anIssue)
  t.same(calls, ['outcome', 'issue', 'issue'])
})

t.test('at the end there are some last tries, and no more', async (t) => {
  const { calls, state, keyServer } = scripted()
  const keeping = keepOutcomes(keyServer, { leaseSeconds: 60, everyMs: 10, log: quiet })
  await t.rejects(keeping.outcome(sent))
  await keeping.close()
  t.same(calls, [])
  state.down = false
  await keeping.close()
  t.same(calls, ['outcome'])
})

t.test('a confirm says how long the delivery may take', async (t) => {
  const { state, keyServer } = scripted()
  state.down = false
  const keeping = keepOutcomes(keyServer, { leaseSeconds: 77, everyMs: 10, log: quiet })
  await keeping.confirm({ ...named, recipients: [sent.recipient] })
  t.equal(state.lease, 77)
})
