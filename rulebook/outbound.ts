import { outboundBindings, type RecipientBindings } from './bindings.ts'
import type { Outcome } from './condition.ts'
import type { Observation, OutboundFacts, OutboundVerdict, SealTerms } from './facts.ts'
import { heedScan } from './heed-scan.ts'
import { defaultNotice } from './notice.ts'
import { DEFAULT_RULE, type OutboundRule, type Outside, type Policy, ruleInError } from './policy.ts'

const NO_RULE = "This organization's policy does not let this message leave."
const SHORTEST_SECONDS = 60

/**
 * What happens to one mail for one recipient. Rules are tried in order and the first whose condition is true decides; else the file's
 * `default`. Never throws.
 *
 * A condition that cannot be worked out never lets the mail pass: it is refused if the rule in error is a `refuse`, or a `refuse`
 * after it matches; else held if the rule in error is a `hold`, or a `hold` after it matches; otherwise it is sealed for the shortest time that
 * the file knows. The verdict's rule is then `error-in:<name>`, or the name of the later rule. What it shows outside is then what that rule says, if it seals, else what the file says.
 *
 * A pass that rests on the recipient's TLS being verified demands it: nothing may change that between this look and the delivery.
 *
 * A rule that only observes decides nothing, whatever comes of it; the verdict says what it would have been.
 *
 * What a scanner did not find clean leaves only by a rule that asks what it said; else the verdict is a refusal by {@link SCANNER_RULE}.
 *
 * `seen`: one and the same for all recipients of one mail.
 */
export function decideOutbound(policy: Policy, facts: OutboundFacts, seen: Outcomes = new Map()): OutboundVerdict {
  const bindings = outboundBindings(facts, policy.groups)
  const observed: Observation[] = []
  const outcomeOf = (rule: OutboundRule) => once(rule, bindings, seen)
  const decided = decide(policy, facts, { bindings, outcomeOf }, observed)
  const guarded = decided.kind === 'pass' && bindings.readTls && facts.recipient.tls === 'verified'
  const wanted: OutboundVerdict = guarded ? { ...decided, tls: 'recipient' } : decided
  const verdict = heedScan(policy, facts.message.scan, wanted)
  return observed.length === 0 ? verdict : { ...verdict, observed }
}

/** What came of the rules of a mail that ask nothing about the recipient. */
export type Outcomes = Map<OutboundRule, Outcome>

type Asked = { readonly bindings: RecipientBindings; readonly outcomeOf: (rule: OutboundRule) => Outcome }

/** A mail can have hundreds of recipients, and a condition go through hundreds of attachments. */
function once(rule: OutboundRule, bindings: RecipientBindings, seen: Outcomes): Outcome {
  if (rule.asksRecipient) return rule.condition.evaluate(bindings)
  const outcome = seen.get(rule) ?? rule.condition.evaluate(bindings)
  seen.set(rule, outcome)
  return outcome
}

function decide(
  policy: Policy,
  facts: OutboundFacts,
  { bindings, outcomeOf }: Asked,
  observed: Observation[],
): OutboundVerdict {
  for (const [index, rule] of policy.outbound.entries()) {
    const { readTls } = bindings
    const outcome = outcomeOf(rule)
    if (outcome !== false) {
      const verdict = outcome === true ? verdictOf(policy, rule, facts) : strictest(policy, index, facts, outcomeOf)
      if (!rule.observe) return verdict
      observed.push({ rule: outcome === true ? rule.name : ruleInError(rule.name), would: verdict.kind })
    }
    // No verdict rests on what was looked at by a rule that decides nothing.
    if (rule.observe) bindings.readTls = readTls
  }
  if (policy.default === 'pass') return { kind: 'pass', rule: DEFAULT_RULE }
  if (policy.default === 'refuse') return { kind: 'refuse', rule: DEFAULT_RULE, because: NO_RULE }
  return { kind: 'seal', rule: DEFAULT_RULE, ...sealed(policy, null, ttlOf(policy, null, true, facts)) }
}

function verdictOf(policy: Policy, rule: OutboundRule, facts: OutboundFacts): OutboundVerdict {
  if (rule.verdict === 'pass') return { kind: 'pass', rule: rule.name, ...(rule.tls === null ? {} : { tls: rule.tls }) }
  if (rule.verdict === 'refuse') return { kind: 'refuse', rule: rule.name, because: rule.because }
  const how = sealed(policy, rule, ttlOf(policy, rule.ttlSeconds, rule.wish, facts))
  if (rule.verdict === 'seal') return { kind: 'seal', rule: rule.name, ...how }
  return { kind: 'hold', rule: rule.name, because: rule.because, holdSeconds: rule.holdSeconds, ...how }
}

/** The verdict after the condition of the rule at `index` could not be worked out. */
function strictest(
  policy: Policy,
  index: number,
  facts: OutboundFacts,
  outcomeOf: Asked['outcomeOf'],
): OutboundVerdict {
  const failed = policy.outbound[index]
  const name = ruleInError(failed?.name ?? DEFAULT_RULE)
  if (failed?.verdict === 'refuse') return { kind: 'refuse', rule: name, because: failed.because }
  const later = policy.outbound.slice(index + 1).filter(({ observe }) => !observe)
  const matching = (verdict: OutboundRule['verdict']) =>
    later.find((rule) => rule.verdict === verdict && outcomeOf(rule) === true)
  const refusing = matching('refuse')
  if (refusing !== undefined) return verdictOf(policy, refusing, facts)
  if (failed?.verdict === 'hold') return { ...verdictOf(policy, failed, facts), rule: name }
  const holding = matching('hold')
  if (holding !== undefined) return verdictOf(policy, holding, facts)
  const known = policy.outbound
    .map((rule) => ((rule.verdict === 'seal' || rule.verdict === 'hold') && !rule.observe ? rule.ttlSeconds : null))
    .filter((ttl) => ttl !== null)
  const ttl = ttlOf(policy, Math.min(policy.ttl.defaultSeconds, ...known), true, facts)
  return { kind: 'seal', rule: name, ...sealed(policy, failed?.verdict === 'seal' ? failed : null, ttl) }
}

/**
 * The time to live in seconds. A sender's wish may shorten a rule's own time, or where the rule has none replace the default; nothing
 * passes the cap, and nothing is shorter than a minute.
 */
function ttlOf(policy: Policy, ruleSeconds: number | null, wishCounts: boolean, facts: OutboundFacts): number {
  const wish = wishCounts ? Math.floor(facts.message.ttlWish) : 0
  const ceiling = Math.min(policy.ttl.capSeconds, ruleSeconds ?? policy.ttl.capSeconds)
  const wanted = wish > 0 ? wish : (ruleSeconds ?? policy.ttl.defaultSeconds)
  return Math.max(SHORTEST_SECONDS, Math.min(wanted, ceiling))
}

function sealed(
  policy: Policy,
  said: { readonly [Key in keyof Outside]: Outside[Key] | null } | null,
  ttlSeconds: number,
): SealTerms {
  const subject = said?.subject ?? policy.sealing.subject
  const carry = said?.carry ?? policy.sealing.carry
  const notice = said?.notice ?? policy.sealing.notice
  return {
    terms: { ttlSeconds, proof: 'code' },
    ...(subject === null ? {} : { subject }),
    ...(carry === 'both' ? {} : { carry }),
    ...(notice === defaultNotice ? {} : { notice }),
  }
}
