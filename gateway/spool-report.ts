import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { type Fates, outcomeOf } from './spool-attempt.ts'
import type { SpoolEntry, Waiting } from './spool-entry.ts'

export type SpoolReportParts = {
  readonly keyServer: Pick<KeyServer, 'outcome'>
  readonly metrics: Pick<Metrics, 'outcome'>
  readonly log: Log
}

/** Tells the key server what became of recipients, and of those settled before; gives those of whom it could not be told. Never rejects. */
export async function reportFates(
  parts: SpoolReportParts,
  entry: SpoolEntry,
  waiting: readonly Waiting[],
  fates: Fates,
): Promise<readonly Waiting[]> {
  const untold = await Promise.all(waiting.map((one) => reportOne(parts, entry, one, fates)))
  return untold.filter((one) => one !== null)
}

async function reportOne(
  parts: SpoolReportParts,
  entry: SpoolEntry,
  one: Waiting,
  fates: Fates,
): Promise<Waiting | null> {
  const fate = fates.get(one.address)
  const early = one.settled === null ? null : { outcome: one.settled, reply: '250 2.0.0 told late' }
  const said = fate === undefined ? early : outcomeOf(fate)
  if (said === null) return null
  if (fate !== undefined) parts.metrics.outcome(said.outcome, 1)
  if (entry.envelope === null) return null
  try {
    await parts.keyServer.outcome({ org: entry.org, id: entry.envelope, recipient: one.address, ...said })
    return null
  } catch (cause) {
    parts.log.warn('an outcome waits in the spool', { org: entry.org, intake: entry.intake, cause })
    // What was put off waits on anyway.
    return said.outcome === 'sent' || said.outcome === 'failed' ? { ...one, settled: said.outcome } : null
  }
}
