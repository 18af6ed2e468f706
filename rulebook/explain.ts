import { type Bindings, outboundBindings, releaseBindings } from './bindings.ts'
import { type Condition, conditionOf, type Outcome } from './condition.ts'
import type { OutboundFacts, OutboundVerdict, ReleaseFacts, ReleaseVerdict } from './facts.ts'
import { decideOutbound } from './outbound.ts'
import type { OutboundRule, Policy, ReleaseRule } from './policy.ts'
import { type Expression, joinedBy, readsOf, textOf } from './reads.ts'
import { decideRelease } from './release.ts'
import { TextAnswers } from './text-answers.ts'
import { nextChange, type VerdictChange } from './turn.ts'
import { outboundVariables, releaseVariables, type Variables } from './variables.ts'

/** Why a verdict is what it is: every rule, whether or not it was reached, with what its condition saw. */
export type Explanation<Verdict> = {
  readonly verdict: Verdict
  /** Outbound in the order in which they are tried; release by name. */
  readonly rules: readonly ExplainedRule[]
}

export type ExplainedRule = {
  readonly name: string
  /** What the rule says happens when it matches. */
  readonly then: OutboundRule['verdict'] | ReleaseRule['verdict']
  /** It decides nothing, whatever its outcome. */
  readonly observes: boolean
  readonly outcome: Outcome
  /** Whether this rule's outcome made the verdict. */
  readonly decides: boolean
  /** What the outermost && and || of the condition join. */
  readonly parts: readonly ExplainedPart[]
}

export type ExplainedPart = {
  readonly text: string
  readonly outcome: Outcome
  /** The variables that this part reads, as JSON, at most 200 characters each; of header fields only the names. */
  readonly saw: readonly { readonly name: string; readonly value: string }[]
}

/** Explains {@link decideOutbound} for one mail and one recipient. Holds values of the mail: for officers, never for a log. */
export function explainOutbound(policy: Policy, facts: OutboundFacts): Explanation<OutboundVerdict> {
  const verdict = decideOutbound(policy, facts)
  const bindings = outboundBindings(facts, policy.groups)
  return { verdict, rules: policy.outbound.map((rule) => explained(rule, verdict.rule, bindings, outboundVariables)) }
}

/**
 * Explains {@link decideRelease}. `change` says when the verdict turns if nothing but time passes, within the message's life; null
 * if it does not.
 */
export function explainRelease(
  policy: Policy,
  facts: ReleaseFacts,
): Explanation<ReleaseVerdict> & { readonly change: VerdictChange | null } {
  const verdict = decideRelease(policy, facts)
  const bindings = releaseBindings(facts)
  const rules = policy.release.map((rule) => explained(rule, verdict.rule, bindings, releaseVariables))
  return { verdict, rules, change: nextChange(policy, facts, verdict) }
}

function explained(
  rule: OutboundRule | ReleaseRule,
  decisive: string,
  bindings: Bindings,
  variables: Variables,
): ExplainedRule {
  return {
    name: rule.name,
    // biome-ignore lint/suspicious/noThenProperty: the field's name in the file; its value is a text
    then: rule.verdict,
    observes: 'observe' in rule && rule.observe,
    outcome: rule.condition.evaluate(bindings),
    decides: decisive === rule.name || decisive.endsWith(`:${rule.name}`),
    parts: partsIn(rule.condition, bindings, variables),
  }
}

function partsIn(condition: Condition, bindings: Bindings, variables: Variables): ExplainedPart[] {
  const parts = joinedBy(condition.tree.expr, '_||_').flatMap((way) => joinedBy(way, '_&&_'))
  return parts.map((part) => explainedPart(condition, part, bindings, variables))
}

function explainedPart(
  condition: Condition,
  part: Expression,
  bindings: Bindings,
  variables: Variables,
): ExplainedPart {
  const text = textOf(condition.tree, part)
  const saw = [...readsOf(part, variables)].map((name) => ({ name, value: shown(bindings, name) }))
  return { text, outcome: conditionOf(text, { ...condition.tree, expr: part }).evaluate(bindings), saw }
}

function shown(bindings: Bindings, name: string): string {
  const value: unknown = Reflect.get(bindings, name)
  if (value instanceof TextAnswers) return `a text of ${value.text.characters} characters`
  const plain = value instanceof Map ? [...value.keys()] : value
  // Whole numbers of a condition are bigints, also those within attachments.
  const json =
    JSON.stringify(plain, (_, part: unknown) => (typeof part === 'bigint' ? Number(part) : part)) ?? 'nothing'
  // What JSON leaves as it is and a terminal obeys, or turns around; a hostile mail is what one looks at here.
  const text = json.replace(/[\u007f-\u009f\p{Cf}]/gu, (found) => `\\u{${found.codePointAt(0)?.toString(16)}}`)
  return text.length > 200 ? `${text.slice(0, 197)}...` : text
}
