import type { OutboundFacts, OutboundVerdict } from './facts.ts'
import type { Policy } from './policy.ts'

/** The name under which a refusal appears that no rule made, but what a scanner said. */
export const SCANNER_RULE = 'scanner'

/**
 * What a scanner did not find clean is refused, unless the rule that took the verdict asks what it said: an officer has thought of it then.
 * A refusal stays what it is.
 */
export function heedScan(
  { reads }: Pick<Policy, 'reads'>,
  { verdict: said, name }: OutboundFacts['message']['scan'],
  verdict: OutboundVerdict,
): OutboundVerdict {
  if (said === 'none' || said === 'clean' || verdict.kind === 'refuse') return verdict
  if (reads.scanRules.includes(verdict.rule)) return verdict
  const what = name === '' ? '' : `: ${name}`
  const because =
    said === 'infected'
      ? `a scanner found something harmful in the message${what}`
      : 'the message is larger than what the scanner of this server looks at'
  return { kind: 'refuse', rule: SCANNER_RULE, because, scan: said }
}
