import { releaseBindings } from './bindings.ts'
import type { ReleaseFacts, ReleaseVerdict } from './facts.ts'
import { DEFAULT_RULE, type Policy, type ReleaseRule, ruleInError } from './policy.ts'

const NO_RULE = "This organization's policy does not let you open this message now."

/**
 * Whether one person may open one message now. Any deny that matches wins; if no allow matches, it is denied. A condition that cannot be
 * worked out counts as a match in a deny (the verdict's rule is then `error-in:<name>`) and as none in an allow. Of several
 * rules that match, the first by name is told, so that the order of the file changes nothing. Never throws.
 */
export function decideRelease(policy: Policy, facts: ReleaseFacts): ReleaseVerdict {
  const bindings = releaseBindings(facts)
  let allowed: ReleaseRule | null = null
  let failed: ReleaseVerdict | null = null
  for (const rule of policy.release) {
    if (rule.verdict === 'allow' && allowed !== null) continue
    const outcome = rule.condition.evaluate(bindings)
    if (outcome === false) continue
    if (rule.verdict === 'deny') {
      if (outcome === true) return { kind: 'deny', rule: rule.name, because: rule.because }
      failed ??= { kind: 'deny', rule: ruleInError(rule.name), because: rule.because }
    } else if (outcome === true) allowed = rule
  }
  if (failed) return failed
  if (allowed) return { kind: 'allow', rule: allowed.name }
  return { kind: 'deny', rule: DEFAULT_RULE, because: NO_RULE }
}
