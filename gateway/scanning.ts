import type { Tracer } from '../telemetry/tracer.ts'
import type { OrganizationConfig } from './config.ts'
import type { Intake } from './intake.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import { NOT_SCANNED, type Scan } from './scan.ts'
import { askScanner } from './scanner.ts'

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

/** Says in the log whether each scanner answers, before the first mail finds out; the end of `stop` ends it. Never rejects. */
export async function greetScanners(
  organizations: readonly OrganizationConfig[],
  log: Log,
  stop: AbortSignal,
): Promise<void> {
  const greet = async ({ id, scanner }: OrganizationConfig) => {
    if (scanner === null) return
    try {
      log.info('the scanner answers', { org: id, reason: await askScanner(scanner, stop) })
    } catch (cause) {
      if (!stop.aborted) log.error('the scanner does not answer: until it does, mail waits', { org: id, cause })
    }
  }
  await Promise.all(organizations.map(greet))
}
