import type { Terms } from '../protocol/gateway-api.ts'
import { type Address, domainOf } from '../protocol/identifiers.ts'
import type { LoadedPolicy } from './policies.ts'
import { wordsFor } from './refusal.ts'
import { lifeOf, type Standing } from './standing.ts'

export type ReleaseQuestion = {
  readonly standing: Standing
  readonly person: { readonly address: Address; readonly internal: boolean }
  /** The proof of the address that the session stands for. */
  readonly proof: 'code'
  readonly ip: string
  /** The organization's policy in force; null refuses. */
  readonly policy: LoadedPolicy | null
  /** Messages that this person may still open in this hour. */
  readonly opensLeft: number
  /** Milliseconds since 1970 UTC. */
  readonly now: number
}

export type ReleaseDecision =
  | { readonly kind: 'release'; readonly rule: string }
  | {
      readonly kind: 'refuse'
      readonly code:
        | 'revoked'
        | 'expired'
        | 'held'
        | 'stronger-proof-needed'
        | 'denied-by-rule'
        | 'too-many'
        | 'unavailable'
        | 'bad-request'
      /** For the person: what happened and what to do. */
      readonly detail: string
      /** The rule that refused, null where code above the policy did. */
      readonly rule: string | null
      /** When it expired or was revoked, or since when it is held. */
      readonly at: number | null
    }

/**
 * Whether a person who is a recipient or the sender of a confirmed envelope gets its key: revocation, expiry, being held, the terms' proof, the rules,
 * the budget, in this order (DESIGN.md, life of an open). Pure: the same question has the same answer, before the transaction and in it.
 */
export function decideRelease(question: ReleaseQuestion): ReleaseDecision {
  const { standing, policy, now } = question
  const life = lifeOf(standing.envelope, now)
  if (life.kind !== 'living') return refuse(life.kind, wordsFor(life.kind), life.at)
  if (!suffices(question.proof, standing.envelope.terms)) {
    return refuse('stronger-proof-needed', 'This message needs a stronger proof of your address than a code.')
  }
  if (policy === null)
    return refuse('unavailable', 'The key server has no rules to decide by just now. Please try again later.')
  const verdict = policy.decideRelease(factsOf(question))
  if (verdict.kind === 'deny') return { ...refuse('denied-by-rule', verdict.because), rule: verdict.rule }
  if (question.opensLeft < 1) {
    return refuse('too-many', 'You have opened very many messages within an hour. Please try again later.')
  }
  return { kind: 'release', rule: verdict.rule }
}

type Refusal = Extract<ReleaseDecision, { kind: 'refuse' }>

function refuse(code: Refusal['code'], detail: string, at: number | null = null): Refusal {
  return { kind: 'refuse', code, detail, rule: null, at }
}

function suffices(given: 'code', terms: Terms): boolean {
  return terms.proof === given
}

function factsOf({ standing, person, proof, ip, now }: ReleaseQuestion) {
  const { envelope, role } = standing
  const date = new Date(now)
  return {
    person: { ...person, domain: domainOf(person.address), role },
    envelope: {
      sender: envelope.sender ?? '',
      ageSeconds: Math.max(0, Math.floor((now - envelope.issuedAt) / 1000)),
      secondsLeft: Math.floor((envelope.expiresAt - now) / 1000),
      rule: envelope.rule,
    },
    request: { ip, proof, hour: date.getUTCHours(), weekday: date.getUTCDay() },
  }
}
