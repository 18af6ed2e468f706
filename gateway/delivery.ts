import type { ConfirmRequest, OutcomeRequest } from '../protocol/gateway-api.ts'
import type { EnvelopeId } from '../protocol/identifiers.ts'
import { type OutgoingMail, type RecipientResult, replyLine } from './courier.ts'
import { EgressViolation } from './egress.ts'
import { GatewayError } from './error.ts'
import type { Intake, IntakeRecipient } from './intake.ts'
import type { KeyServer } from './key-server.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import type { Tally } from './tally.ts'

/** One mail, ready to leave, for the recipients of one envelope. */
export type Shipment = {
  readonly id: EnvelopeId
  readonly mail: OutgoingMail
  readonly recipients: readonly IntakeRecipient[]
  /** With a sealed mail. */
  readonly sealed: ConfirmRequest['sealed'] | null
  /** An earlier attempt may have reached some of the recipients. */
  readonly again?: boolean
}

export type DeliveryParts = {
  readonly keyServer: Pick<KeyServer, 'confirm' | 'outcome'>
  readonly metrics: Metrics
}

/**
 * Confirm, deliver, record: in this order, because what a recipient holds must be confirmed before, and what was sent must be known before
 * anything else is sent or said. Fills the tally. Rejects, with nothing delivered, if it cannot be confirmed.
 */
export async function ship(
  parts: DeliveryParts,
  org: Organization,
  intake: Intake,
  shipment: Shipment,
  tally: Tally,
  deadline: AbortSignal,
): Promise<void> {
  const { id, recipients, sealed } = shipment
  const confirmed = await parts.keyServer.confirm({
    org: org.id,
    id,
    ...(sealed ? { sealed } : {}),
    recipients: recipients.map((recipient) => recipient.address),
  })
  if (confirmed.kind === 'refused') throw new GatewayError('key-server', { message: `confirm: ${confirmed.code}` })
  const results = await deliver(org, intake, shipment, deadline)
  const outcomes: Promise<void>[] = []
  for (const [index, recipient] of recipients.entries()) {
    const result = results[index]
    if (result === undefined) throw new Error('the courier left a recipient without a result')
    parts.metrics.outcome(result.outcome, 1)
    if (result.outcome === 'failed') tally.failed.push({ id, recipient, result })
    else {
      if (result.outcome === 'sent') tally.sent.push({ id, result })
      else tally.deferred.push(result)
      outcomes.push(record(parts, org, id, recipient, result))
    }
  }
  await Promise.all(outcomes)
}

/** Makes an outcome durable at the key server. */
export async function record(
  parts: Pick<DeliveryParts, 'keyServer'>,
  org: Organization,
  id: EnvelopeId,
  recipient: IntakeRecipient,
  result: RecipientResult,
  outcome: OutcomeRequest['outcome'] = result.outcome,
): Promise<void> {
  const reply = replyLine(result)
  const recorded = await parts.keyServer.outcome({ org: org.id, id, recipient: recipient.address, outcome, reply })
  if (recorded.kind === 'refused') throw new GatewayError('key-server', { message: `outcome: ${recorded.code}` })
}

async function deliver(
  org: Organization,
  intake: Intake,
  shipment: Shipment,
  signal: AbortSignal,
): Promise<readonly RecipientResult[]> {
  const recipients = shipment.recipients.map((recipient) => recipient.mailbox)
  const sender = intake.sender?.mailbox ?? ''
  try {
    const { mail, again = false } = shipment
    const report = await org.courier.deliver({ sender, recipients, mail, signal, again })
    return report.results
  } catch (error) {
    // The mail's own stream failed, so nothing was delivered: the last look stopped it, or a file could not be read.
    const stopped = error instanceof EgressViolation
    return recipients.map((recipient) => ({
      recipient,
      outcome: stopped ? 'failed' : 'deferred',
      code: stopped ? 554 : 451,
      enhanced: stopped ? '5.6.0' : '4.3.0',
      text: stopped ? `stopped by the last look at what leaves, incident ${error.incident}` : 'something failed here',
      remote: false,
    }))
  }
}
