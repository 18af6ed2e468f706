import type { ConfirmRequest, OutcomeRequest } from '../protocol/gateway-api.ts'
import type { EnvelopeId } from '../protocol/identifiers.ts'
import type { TlsDemand } from '../rulebook/index.ts'
import { type ByLink, isTooLarge, keepByLink, keepsByLink } from './by-link.ts'
import type { Copies } from './copies.ts'
import { answerLine, type OutgoingMail, type RecipientResult } from './courier.ts'
import { GatewayError } from './error.ts'
import { inTime, takeOff, tooLate } from './flight.ts'
import type { HeaderField } from './header.ts'
import type { Intake, IntakeRecipient } from './intake.ts'
import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import type { Known, Spool } from './spool.ts'
import { type Fates, fateOf } from './spool-attempt.ts'
import { newSpoolId, type SpoolEntry } from './spool-entry.ts'
import { returnedFields } from './spool-notice.ts'
import type { Failed, Tally } from './tally.ts'

/** One mail, ready to leave, for the recipients of one envelope. */
export type Shipment = {
  readonly id: EnvelopeId
  readonly mail: OutgoingMail
  readonly recipients: readonly IntakeRecipient[]
  /** An earlier attempt may have reached some of the recipients. */
  readonly again?: boolean
  /** With a sealed mail. */
  readonly sealed: ConfirmRequest['sealed'] | null
  /** Without which it may not leave. */
  readonly tls: TlsDemand | null
  /** In its place, for those for whom the next hop finds it too large; null: there is no other. */
  readonly byLink: ByLink | null
}

export type DeliveryParts = {
  readonly keyServer: Pick<KeyServer, 'confirm' | 'outcome'>
  readonly copies: Pick<Copies, 'settle'>
  readonly spool: Pick<Spool, 'put'>
  readonly metrics: Metrics
  readonly log: Log
}

/** One message on its way, with what came of it so far. */
export type Voyage = {
  readonly org: Organization
  readonly intake: Intake
  /** The fields of the message as they may be given back to its sender in the clear. */
  readonly outside: readonly HeaderField[]
  readonly tally: Tally
}

/**
 * Confirm, deliver, record: in this order, because what a recipient holds must be confirmed before, and what was sent must be known before
 * anything else is sent or said. Fills the tally. Rejects, with nothing delivered, if it cannot be confirmed. Where the answer to the content
 * does not come in time, or is lost, the mail goes into the spool. Those for whom the next hop finds it too large get it by link, where it may go so.
 */
export async function ship(
  parts: DeliveryParts,
  voyage: Voyage,
  shipment: Shipment,
  deadline: AbortSignal,
): Promise<void> {
  const { org, tally } = voyage
  const { id, recipients } = shipment
  await confirm(parts, org, shipment)
  const flight = takeOff(voyage, shipment)
  if ((await inTime(flight, deadline)) === 'late') {
    const ending = flight.ended.then((results) => fatesOf(shipment, results))
    if (await spool(parts, voyage, shipment, { kind: 'under-way', ending, stop: flight.stop })) return
    flight.stop()
  }
  const results = (await flight.ended).map((result) => (deadline.aborted ? tooLate(result) : result))
  const lost = recipients.filter((_, index) => results[index]?.outcome === 'unknown')
  const fates = fatesOf(shipment, results)
  const part = { ...shipment, recipients: lost }
  const kept = lost.length > 0 && (await spool(parts, voyage, part, { kind: 'ended', fates }))
  const outcomes: Promise<void>[] = []
  const tooLarge: Failed[] = []
  for (const [index, recipient] of recipients.entries()) {
    const result = results[index]
    if (result === undefined) throw new Error('the courier left a recipient without a result')
    if (kept && result.outcome === 'unknown') continue
    if (shipment.byLink !== null && isTooLarge(result)) {
      tooLarge.push({ id, recipient, result })
      continue
    }
    parts.metrics.outcome(result.outcome, 1)
    if (result.outcome === 'failed') tally.failed.push({ id, recipient, result })
    else {
      if (result.outcome === 'sent') tally.sent.push({ id, result })
      else tally.deferred.push(result)
      outcomes.push(record(parts, org, id, recipient, result))
    }
  }
  await Promise.all(outcomes)
  if (tooLarge.length > 0) await shipByLink(parts, voyage, shipment, tooLarge, deadline)
}

/** The same for those for whom it was too large, once the copy that the link leads to is safe. */
async function shipByLink(
  parts: DeliveryParts,
  voyage: Voyage,
  shipment: Shipment,
  tooLarge: readonly Failed[],
  deadline: AbortSignal,
): Promise<void> {
  const { org, intake, tally } = voyage
  const { id, byLink, mail } = shipment
  if (byLink === null || !(await parts.copies.settle(id))) {
    parts.metrics.outcome('failed', tooLarge.length)
    tally.failed.push(...tooLarge)
    return
  }
  const recipients = tooLarge.map(({ recipient }) => recipient)
  parts.metrics.byLink(recipients.length)
  const fields = { org: org.id, intake: intake.id, envelope: id, size: mail.size, recipients: recipients.length }
  parts.log.info('the next hop finds a mail too large, it goes by link', fields)
  await ship(parts, voyage, { ...shipment, recipients, mail: byLink(), byLink: null }, deadline)
}

/** Confirms, and leaves the delivery to the spool. Rejects, with nothing kept, if either cannot be done. */
export async function keep(parts: DeliveryParts, voyage: Voyage, shipment: Shipment): Promise<void> {
  const { org, tally } = voyage
  const entry = await entryOf(voyage, shipment)
  const confirmed = confirm(parts, org, shipment)
  try {
    await parts.spool.put(entry, shipment.mail, { kind: 'confirming', confirmed })
  } catch (error) {
    const isConfirmed = await confirmed.then(
      () => true,
      () => false,
    )
    if (!isConfirmed) throw error
    // The client tries again: nothing here is to keep it away.
    const given = {
      org: org.id,
      id: shipment.id,
      outcome: 'deferred',
      reply: '452 4.3.1 it could not be kept',
    } as const
    const release = shipment.recipients.map(({ address }) => parts.keyServer.outcome({ ...given, recipient: address }))
    await Promise.allSettled(release)
    throw error
  }
  tally.spooled.push(shipment.id)
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
  const reply = answerLine(result)
  const recorded = await parts.keyServer.outcome({ org: org.id, id, recipient: recipient.address, outcome, reply })
  if (recorded.kind === 'refused') throw new GatewayError('key-server', { message: `outcome: ${recorded.code}` })
}

async function confirm({ keyServer }: DeliveryParts, org: Organization, shipment: Shipment): Promise<void> {
  const { id, recipients, sealed } = shipment
  const confirmed = await keyServer.confirm({
    org: org.id,
    id,
    ...(sealed ? { sealed } : {}),
    recipients: recipients.map((recipient) => recipient.address),
  })
  if (confirmed.kind === 'refused') throw new GatewayError('key-server', { message: `confirm: ${confirmed.code}` })
}

/** True once the mail lies in the spool for these recipients. */
async function spool(parts: DeliveryParts, voyage: Voyage, shipment: Shipment, known: Known): Promise<boolean> {
  const { org, intake, tally } = voyage
  try {
    await parts.spool.put(await entryOf(voyage, shipment), shipment.mail, known)
    tally.spooled.push(shipment.id)
    parts.log.info('the answer to a mail is awaited in the spool', {
      org: org.id,
      intake: intake.id,
      envelope: shipment.id,
    })
    return true
  } catch (cause) {
    parts.log.warn('a mail could not be spooled', { org: org.id, intake: intake.id, envelope: shipment.id, cause })
    return false
  }
}

async function entryOf({ org, intake, outside }: Voyage, shipment: Shipment): Promise<SpoolEntry> {
  const { id, mail, recipients, sealed, tls, byLink } = shipment
  const { size, smtputf8, eightBit } = mail
  return {
    ...{
      id: newSpoolId(),
      kind: 'message',
      org: org.id,
      envelope: id,
      sealed: sealed ?? null,
      sender: intake.sender,
      recipients,
    },
    ...{
      wish: intake.wish,
      mail: { size, smtputf8, eightBit },
      ...(tls === null ? {} : { tls }),
      returned: returnedFields(outside),
      ...(keepsByLink(mail, byLink) ? { byLink: await keepByLink(byLink) } : {}),
    },
    ...{ arrivedAt: intake.receivedAt.toISOString(), intake: intake.id },
  }
}

/** For the spool, which tries again by link what is too large, where it can. */
function fatesOf({ mail, recipients, byLink }: Shipment, results: readonly RecipientResult[]): Fates {
  return new Map(
    recipients.flatMap(({ address }, index) => {
      const result = results[index]
      return result === undefined ? [] : [[address, fateOf(result, keepsByLink(mail, byLink))] as const]
    }),
  )
}
