import type { Policy } from '../rulebook/index.ts'
import type { Tracer } from '../telemetry/tracer.ts'
import type { Intake } from './intake.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import type { Refusal, Route } from './routing.ts'
import { NOT_SCANNED, type Scan } from './scan.ts'

/** The name under which the log has a refusal that the scanner made and no rule. */
const SCANNER_RULE = 'scanner'

/** Shows the message to the organization's scanner, if there is one. Rejects if it cannot answer: nothing leaves unseen. */
export async function scanned(
  { metrics, log, tracer }: { readonly metrics: Metrics; readonly log: Log; readonly tracer: Tracer },
  { id, scanner }: Organization,
  intake: Intake,
  deadline: AbortSignal,
): Promise<Scan> {
  if (scanner === null) return NOT_SCANNED
  try {
    const scan = await tracer.within('scan', { org: id }, () => scanner.scan(intake.content, deadline))
    metrics.scanned(scan.verdict)
    if (scan.verdict === 'clean') return scan
    const { verdict, name } = scan
    log.warn('a message was not found clean', { org: id, intake: intake.id, verdict, reason: name })
    return scan
  } catch (error) {
    metrics.scanned('failed')
    throw error
  }
}

/**
 * The message is refused where the scanner did not find it clean, except for recipients whose rule has asked what the scanner said: an officer has
 * thought of it then. Pure.
 */
export function heedScan({ reads }: Pick<Policy, 'reads'>, scan: Scan, route: Route): Route {
  if (scan.verdict === 'none' || scan.verdict === 'clean' || route.kind === 'refuse') return route
  const recipients = route.groups.flatMap((group) => (reads.scanRules.includes(group.rule) ? [] : group.recipients))
  if (recipients.length === 0) return route
  return { kind: 'refuse', refusals: [{ rule: SCANNER_RULE, recipients, ...saying(scan) }], observed: route.observed }
}

function saying({ verdict, name }: Scan): Pick<Refusal, 'as' | 'because'> {
  if (verdict === 'too-large') {
    return { as: 'not-scanned', because: 'the message is larger than what the scanner of this server looks at' }
  }
  const what = name === '' ? '' : `: ${name}`
  return { as: 'infected', because: `a scanner found something harmful in the message${what}` }
}
