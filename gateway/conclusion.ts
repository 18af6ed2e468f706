import type { composeBounce } from './bounce.ts'
import { type DeliveryParts, record, type Voyage } from './delivery.ts'
import { wants, wishesOf } from './dsn.ts'
import { type Answer, answerTo, GatewayError } from './error.ts'
import type { Spool } from './spool.ts'
import { subjectOf } from './spool-notice.ts'
import { settle } from './tally.ts'

export type ConclusionParts = Pick<DeliveryParts, 'keyServer' | 'log'> & {
  /** Our own name. */
  readonly host: string
  readonly composeBounce: typeof composeBounce
  readonly spool: Pick<Spool, 'tell'>
  readonly now: () => Date
}

/** The bounce, the outcomes that waited for it, and the reply. */
export async function conclude(parts: ConclusionParts, voyage: Voyage, deadline: AbortSignal): Promise<Answer> {
  const { org, intake, tally } = voyage
  const settlement = settle(tally, intake.id)
  const recordFailed = (outcome: 'failed' | 'deferred') =>
    Promise.all(tally.failed.map(({ id, recipient, result }) => record(parts, org, id, recipient, result, outcome)))
  if (settlement.kind === 'again') {
    await recordFailed('deferred')
    return settlement.answer
  }
  if (settlement.kind === 'done' && settlement.bounce && intake.sender !== null) {
    const told = await bounce(parts, voyage, deadline)
    if (!told) {
      await recordFailed('deferred')
      return answerTo(new GatewayError('provider'), intake.id)
    }
  }
  await recordFailed('failed')
  await tellSent(parts, voyage)
  return settlement.answer
}

/** RFC 3461 5.2.2: who wished to hear of success hears from us where the next hop will not say it. */
async function tellSent(parts: ConclusionParts, { org, intake, outside, tally }: Voyage): Promise<void> {
  if (!intake.recipients.some(({ notify }) => wants(notify, 'SUCCESS'))) return
  if (tally.sent.length === 0 || org.courier.capabilities()?.dsn === true) return
  try {
    const results = tally.sent.map(({ result }) => result).filter(({ dsn }) => dsn !== true)
    if (results.length === 0) return
    await parts.spool.tell(subjectOf(intake, outside), org, 'relayed', results)
  } catch (cause) {
    parts.log.warn('a success was not told', { org: org.id, intake: intake.id, cause })
  }
}

/** True once the next hop or the spool has the bounce, or it is refused for good: nobody can be told then, and trying again changes nothing. */
async function bounce(
  parts: ConclusionParts,
  { org, intake, outside, tally }: Voyage,
  signal: AbortSignal,
): Promise<boolean> {
  const failed = tally.failed.filter(({ recipient }) => wants(recipient.notify, 'FAILURE')).map(({ result }) => result)
  if (intake.sender === null || failed.length === 0) return true
  const mail = parts.composeBounce({
    org: org.id,
    organization: org.name,
    host: parts.host,
    sender: intake.sender.mailbox,
    failed,
    wishes: wishesOf(intake.wish, intake.recipients),
    fields: outside,
    stamp: null,
    nextHop: org.nextHop,
    arrivedAt: intake.receivedAt,
    now: parts.now(),
  })
  const report = await org.courier.deliver({ ...mail, signal })
  const [result] = report.results
  if (result?.outcome === 'sent') return true
  if (result?.outcome === 'failed') {
    parts.log.warn('bounce refused', { org: org.id, incident: intake.id, code: result.code })
    return true
  }
  try {
    await parts.spool.tell(subjectOf(intake, outside), org, 'failed', failed)
    return true
  } catch (cause) {
    parts.log.warn('a bounce could not be kept', { org: org.id, incident: intake.id, cause })
    return false
  }
}
