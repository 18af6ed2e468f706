import type { Tracer } from '../telemetry/tracer.ts'
import type { composeBounce } from './bounce.ts'
import type { Composer } from './compose.ts'
import { conclude } from './conclusion.ts'
import type { Copies } from './copies.ts'
import { type DeliveryParts, keep, type Shipment, ship, type Voyage } from './delivery.ts'
import type { Egress } from './egress.ts'
import { type Answer, answerTo, GatewayError } from './error.ts'
import type { Holds } from './holds.ts'
import type { Intake } from './intake.ts'
import { issue, type Special, type Work } from './issuing.ts'
import type { KeyServer } from './key-server.ts'
import { recogniseHandled } from './loop.ts'
import type { Organization } from './organization.ts'
import { withSubject } from './outgoing-header.ts'
import type { PolicyCache } from './policy-cache.ts'
import { createPreparation, type Preparation } from './preparation.ts'
import type { Accept } from './reception.ts'
import type { Refusal } from './routing.ts'
import { NOT_SCANNED } from './scan.ts'
import { scanned } from './scanning.ts'
import type { Sealing } from './sealing.ts'
import type { Spool } from './spool.ts'
import type { SystemMail } from './system-mail.ts'
import { emptyTally, noteState } from './tally.ts'

export type DispatchParts = DeliveryParts & {
  /** Our own name. */
  readonly host: string
  readonly organizations: ReadonlyMap<string, Organization>
  readonly policies: PolicyCache
  readonly keyServer: KeyServer
  readonly systemMail: SystemMail
  readonly sealing: Sealing
  readonly composer: Composer
  readonly egress: Egress
  readonly composeBounce: typeof composeBounce
  readonly copies: Copies
  readonly spool: Pick<Spool, 'put' | 'tell' | 'holds'>
  readonly tracer: Tracer
  readonly holds: Pick<Holds, 'keep' | 'remind'>
  readonly now: () => Date
}

/** Who delivers: this attempt, before the client is answered; or the spool, afterwards. */
export type DeliveryMode = 'inline' | 'spool'

/**
 * DESIGN, life of a message, steps 2 to 8. The order is the point: verdict, issue, seal, compose, confirm, deliver, durable outcome, and
 * only then the next delivery; the reply last. Whatever cannot be done ends in 4xx with nothing sent in the clear.
 */
export function createDispatch(parts: DispatchParts): (mode: DeliveryMode) => Accept {
  const preparation = createPreparation(parts)

  return (mode) => async (intake, deadline) => {
    const org = parts.organizations.get(intake.org)
    if (org === undefined) throw new GatewayError('not-proven')
    const started = performance.now()
    const special = await recognise(parts, preparation, org, intake)
    const scan = special === null ? await scanned(parts, org, intake, deadline) : NOT_SCANNED
    const decided = await issue(parts, org, intake, { special, scan }, deadline)
    if (decided.kind === 'refuse') return refuse(parts, intake, decided.refusals)
    const voyage = voyageOf(org, intake, decided.works)
    const how = { mode, preparation: special?.preparation ?? preparation }
    for (const work of decided.works) await deliverEnvelope(parts, how, voyage, work, deadline)
    const answer = await conclude(parts, voyage, deadline)
    parts.log.info('message handled', {
      org: org.id,
      intake: intake.id,
      code: answer.code,
      status: answer.status,
      recipients: intake.recipients.length,
      size: intake.content.size,
      ms: Math.round(performance.now() - started),
      ...(decided.works[0] === undefined ? {} : { envelope: decided.works[0].envelope.id }),
    })
    return answer
  }
}

/** A subject that is hidden from one recipient is given back to nobody. */
function voyageOf(org: Organization, intake: Intake, works: readonly Work[]): Voyage {
  const hidden = works.find(({ group }) => group.subject !== null)?.group.subject ?? null
  return { org, intake, outside: withSubject(intake.content.header.fields, hidden), tally: emptyTally() }
}

/** Mail of our own, if it proves itself; null for any other. */
async function recognise(
  parts: DispatchParts,
  preparation: Preparation,
  org: Organization,
  intake: Intake,
): Promise<Special | null> {
  const fields = await parts.systemMail.recognise(intake)
  if (fields !== null) return { rule: 'system-mail', preparation: preparation.withFields(fields) }
  const handled = await recogniseHandled(intake, org, parts.keyServer)
  return handled === null ? null : { rule: 'handled', preparation: preparation.withHandled(handled) }
}

/** The rule's own sentence. All recipients are refused with the one, so that the sender decides anew for the whole message. */
function refuse(parts: DispatchParts, intake: Intake, refusals: readonly [Refusal, ...Refusal[]]): Answer {
  const [{ rule, because, recipients, as = 'refused-by-rule' }] = refusals
  const others = recipients.length === intake.recipients.length ? '' : ` (because of ${recipients[0]?.mailbox})`
  parts.metrics.refused(as)
  parts.log.info('message refused by rule', { org: intake.org, incident: intake.id, rule })
  return answerTo(new GatewayError(as, { words: `${because}${others}`.slice(0, 380) }), intake.id)
}

/** Seals and ships what is left to send of one envelope. */
async function deliverEnvelope(
  parts: DispatchParts,
  how: { readonly mode: DeliveryMode; readonly preparation: Preparation },
  voyage: Voyage,
  { group, envelope }: Work,
  deadline: AbortSignal,
): Promise<void> {
  const { org, intake, tally } = voyage
  const states = new Map(envelope.recipients.map(({ address, state }) => [address, state]))
  const left = group.recipients.filter(({ address }) => {
    const state = states.get(address)
    return state !== undefined && noteState(tally, envelope.id, state, parts.spool.holds(envelope.id, address))
  })
  if ([...states.values()].includes('held')) await parts.holds.remind(envelope.id)
  if (left.length === 0) return
  if (deadline.aborted) throw new GatewayError('out-of-time')
  if (group.verdict === 'hold') {
    await parts.holds.keep({ org, intake, group, envelope }, left, voyage.outside)
    tally.held.push(envelope.id)
    return
  }
  const prepared = await how.preparation.prepare({ org, intake, group, envelope })
  try {
    const again = left.some(({ address }) => states.get(address) === 'unknown')
    const { mail, sealed, byLink } = prepared
    const shipment: Shipment = { id: envelope.id, recipients: left, mail, sealed, byLink, again, tls: group.tls }
    if (how.mode === 'spool') await keep(parts, voyage, shipment)
    else await ship(parts, voyage, shipment, deadline)
  } finally {
    await prepared.dispose()
  }
}
