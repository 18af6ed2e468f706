import type { ReleaseFacts, ReleaseVerdict } from './facts.ts'
import type { Policy } from './policy.ts'
import { type Expression, partsOf, readsOf } from './reads.ts'
import { decideRelease } from './release.ts'
import { releaseVariables } from './variables.ts'

/** When a verdict turns. Seconds count from now; where the hour decides, from the start of the current hour. */
export type VerdictChange = { readonly afterSeconds: number; readonly verdict: ReleaseVerdict }

const HOUR = 3600

/** The first moment in the message's life at which time alone makes another verdict; null if there is none. */
export function nextChange(policy: Policy, facts: ReleaseFacts, now: ReleaseVerdict): VerdictChange | null {
  for (const afterSeconds of momentsOf(policy, facts)) {
    const verdict = decideRelease(policy, later(facts, afterSeconds))
    if (verdict.kind !== now.kind || verdict.rule !== now.rule) return { afterSeconds, verdict }
  }
  return null
}

/** The moments at which a condition on time can turn: around each number that is written in one, and at each turn of the hour in a week. */
function momentsOf(policy: Policy, facts: ReleaseFacts): number[] {
  const { ageSeconds, secondsLeft } = facts.envelope
  const moments = new Set<number>()
  for (const { condition } of policy.release) {
    const reads = readsOf(condition.tree.expr, releaseVariables)
    if (reads.has('envelope.ageSeconds') || reads.has('envelope.secondsLeft')) {
      for (const number of numbersIn(condition.tree.expr)) {
        moments.add(number - ageSeconds).add(number - ageSeconds + 1)
        moments.add(secondsLeft - number).add(secondsLeft - number + 1)
      }
    }
    if (reads.has('request.hour') || reads.has('request.weekday')) {
      for (let hours = 1; hours <= 7 * 24; hours++) moments.add(hours * HOUR)
    }
  }
  return [...moments].filter((moment) => moment > 0 && moment < secondsLeft).sort((a, b) => a - b)
}

function numbersIn(node: Expression): number[] {
  const { exprKind } = node
  if (exprKind.case === 'constExpr' && exprKind.value.constantKind.case === 'int64Value') {
    return [Number(exprKind.value.constantKind.value)]
  }
  return partsOf(node).flatMap(numbersIn)
}

function later(facts: ReleaseFacts, seconds: number): ReleaseFacts {
  const hours = facts.request.hour + Math.floor(seconds / HOUR)
  return {
    person: facts.person,
    envelope: {
      ...facts.envelope,
      ageSeconds: facts.envelope.ageSeconds + seconds,
      secondsLeft: facts.envelope.secondsLeft - seconds,
    },
    request: { ...facts.request, hour: hours % 24, weekday: (facts.request.weekday + Math.floor(hours / 24)) % 7 },
  }
}
