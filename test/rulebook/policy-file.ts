import { mailFacts, openFacts } from '../../rulebook/cases.ts'
import { loadPolicy, type OutboundFacts, type Policy, type ReleaseFacts } from '../../rulebook/index.ts'

/** A policy file around some rules, for tests. */
export function policyText(parts: {
  readonly outbound?: readonly string[]
  readonly release?: readonly string[]
  readonly otherwise?: 'seal' | 'pass' | 'refuse'
  readonly ttl?: string
  readonly sealing?: string
  readonly groups?: string
  readonly notices?: string
}): string {
  const release = parts.release ?? [`{ name: all, when: true, then: allow }`]
  return [
    'version: 1',
    'organization: acme.example',
    'domains: [acme.example]',
    `ttl: ${parts.ttl ?? '{ default: 30d, cap: 90d }'}`,
    ...(parts.groups === undefined ? [] : [`groups: ${parts.groups}`]),
    ...(parts.sealing === undefined ? [] : [`sealing: ${parts.sealing}`]),
    ...(parts.notices === undefined ? [] : [`notices: ${parts.notices}`]),
    `outbound: [${(parts.outbound ?? []).join(', ')}]`,
    `default: ${parts.otherwise ?? 'seal'}`,
    `release: [${release.join(', ')}]`,
    'tests: { outbound: [], release: [] }',
    '',
  ].join('\n')
}

/** The policy of such a file; throws with its faults where there are some. */
export function policyOf(parts: Parameters<typeof policyText>[0]): Policy {
  const loaded = loadPolicy(policyText(parts), 'test.yaml')
  if (loaded.kind === 'policy') return loaded.policy
  throw new Error(loaded.faults.map(({ line, column, message }) => `${line}:${column} ${message}`).join('\n'))
}

const own = { domains: ['acme.example'], ttl: { defaultSeconds: 30 * 86_400, capSeconds: 90 * 86_400 } }

/** An ordinary mail to outside, but for what is given. */
export function mail(given: Partial<Parameters<typeof mailFacts>[1]> = {}): OutboundFacts {
  return mailFacts(own, { sender: 'anna@acme.example', to: 'bob@example.org', ...given })
}

/** An ordinary attempt of a recipient to open, but for what is given. */
export function open(given: Partial<Parameters<typeof openFacts>[1]> = {}): ReleaseFacts {
  return openFacts(own, { person: 'bob@example.org', ...given })
}
