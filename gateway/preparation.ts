import type { ConfirmRequest, IssuedEnvelope } from '../protocol/gateway-api.ts'
import type { ByLink } from './by-link.ts'
import type { Composer, PassParts, SealedParts } from './compose.ts'
import type { Copies } from './copies.ts'
import type { OutgoingMail } from './courier.ts'
import type { Egress } from './egress.ts'
import { GatewayError } from './error.ts'
import type { HeaderField } from './header.ts'
import type { Intake } from './intake.ts'
import type { Handled } from './loop.ts'
import type { Organization } from './organization.ts'
import type { Group } from './routing.ts'
import { inMemory, type SealedCopy, type Sealing } from './sealing.ts'
import { formatLoopStamp } from './stamp.ts'

/** One envelope of one message, issued and not sent yet. */
export type Order = {
  readonly org: Organization
  readonly intake: Intake
  readonly group: Group
  readonly envelope: IssuedEnvelope
}

/** What the mail around a sealed copy is composed of; an order is one. */
export type Wrapping = {
  readonly org: Organization
  readonly intake: Pick<Intake, 'sender' | 'received'> & {
    readonly content: { readonly header: { readonly fields: readonly HeaderField[] } }
  }
  readonly group: Omit<Group, 'recipients'>
  readonly envelope: Pick<IssuedEnvelope, 'id'> & {
    readonly recipients: readonly Pick<IssuedEnvelope['recipients'][number], 'address'>[]
  }
}

type Notice = { readonly link: string; readonly expiresAt: string }

/** A mail under the last look, ready to leave as often as needed until it is disposed of. */
export type Prepared = {
  readonly mail: OutgoingMail
  readonly sealed: ConfirmRequest['sealed'] | null
  /** Null where the mail carries nothing, or must. Good only once the copy is settled ({@link Copies}). */
  readonly byLink: ByLink | null
  dispose(): Promise<void>
}

/** Makes the mail that leaves from the message that came: sealed or passed on, as the verdict says. */
export type Preparation = {
  prepare(order: Order): Promise<Prepared>
  /** For system mail: passed on with these fields only. */
  withFields(fields: readonly HeaderField[]): Preparation
  /** For a sealed mail that came back: composed anew around its envelope. */
  withHandled(handled: Handled): Preparation
}

export type PreparationParts = {
  readonly sealing: Sealing
  readonly composer: Composer
  readonly egress: Egress
  readonly copies: Copies
  readonly now: () => Date
}

/** Base64 in lines of 76, and the notice with its header around it. */
const CARRIED = 1.37
const AROUND = 65_536

export function createPreparation(parts: PreparationParts): Preparation {
  const with_ = (prepare: Preparation['prepare']): Preparation => ({
    prepare,
    withFields: (fields) => with_(async (order) => pass(parts, order, fields)),
    withHandled: (handled) => with_(async (order) => composeAgain(parts, order, handled)),
  })
  return with_((order) =>
    order.group.verdict === 'seal' ? seal(parts, order) : pass(parts, order, order.intake.content.header.fields),
  )
}

async function pass(parts: PreparationParts, order: Order, fields: readonly HeaderField[]): Promise<Prepared> {
  const { org, intake, envelope } = order
  const { body, bodySize, eightBit } = intake.content
  const { received, smtpUtf8 } = intake
  const handled = formatLoopStamp({ org: org.id, id: envelope.id, secret: org.loopSecret })
  const passed: PassParts = { received, handled, fields, body, bodySize, eightBit, smtpUtf8 }
  const mail = parts.egress.passed(parts.composer.passed(passed), passed)
  return { mail, sealed: null, byLink: null, dispose: async () => undefined }
}

async function seal(parts: PreparationParts, order: Order): Promise<Prepared> {
  const copy = await sealMessage(parts, order)
  return wrapCopy(parts, order, copy, keyOf(order.envelope))
}

function keyOf({ key }: IssuedEnvelope): NonNullable<IssuedEnvelope['key']> {
  if (key !== null) return key
  throw new GatewayError('key-server', { message: 'issue: an envelope to seal came without its key' })
}

/** The message sealed for an envelope that was issued with its key. */
export async function sealMessage({ sealing }: Pick<PreparationParts, 'sealing'>, order: Order): Promise<SealedCopy> {
  const { org, intake, envelope } = order
  const key = keyOf(envelope)
  const dataKey = Buffer.from(key.dataKey, 'base64url')
  const wrappedKey = Buffer.from(key.wrappedKey, 'base64url')
  const sealingKey = { org: org.id, id: envelope.id, dataKey, wrappedKey, termsHash: key.termsHash }
  return sealing.seal(intake.content, sealingKey).finally(() => dataKey.fill(0))
}

/** The mail around a sealed copy, which goes with it when it is disposed of. The copy is kept for the link where it must be, or may be. */
export async function wrapCopy(
  parts: PreparationParts,
  order: Wrapping,
  copy: SealedCopy,
  notice: Notice,
): Promise<Prepared> {
  const { org, group, envelope } = order
  try {
    const carried = group.carry !== 'link' && copy.sealedSize * CARRIED + AROUND <= limitOf(org)
    // A mail that does not carry its envelope must not leave before the only copy is safe.
    if (!carried || group.carry !== 'mail') await parts.copies.put(envelope.id, copy, { durable: !carried })
    const { digest, sealedSize, plainSize } = copy
    const mail = sealedMail(parts, partsOf(parts, order, carried ? copy : null, notice))
    const byLink =
      carried && group.carry !== 'mail' ? () => sealedMail(parts, partsOf(parts, order, null, notice)) : null
    return { mail, sealed: { digest, sealedSize, plainSize }, byLink, dispose: () => copy.dispose() }
  } catch (error) {
    await copy.dispose()
    throw error
  }
}

/** Nothing of the mail that came back rides along: kept fields, template and the proven envelope are all of it. */
function composeAgain(parts: PreparationParts, order: Order, handled: Handled): Prepared {
  const copy = inMemory(handled.sealed, 0)
  const again: Order = { ...order, envelope: { ...order.envelope, id: handled.id } }
  const mail = sealedMail(parts, partsOf(parts, again, copy, handled))
  return { mail, sealed: null, byLink: null, dispose: () => copy.dispose() }
}

function sealedMail({ egress, composer }: PreparationParts, sealedParts: SealedParts): OutgoingMail {
  return egress.sealed(composer.sealed(sealedParts), sealedParts)
}

function partsOf(
  parts: PreparationParts,
  { org, intake, group, envelope }: Wrapping,
  sealed: SealedCopy | null,
  notice: Notice,
): SealedParts {
  return {
    org: org.id,
    organization: org.name,
    envelope: envelope.id,
    link: notice.link,
    expiresAt: notice.expiresAt,
    sender: intake.sender?.address ?? null,
    recipients: envelope.recipients.map((recipient) => recipient.address),
    fields: intake.content.header.fields,
    received: intake.received,
    handled: formatLoopStamp({ org: org.id, id: envelope.id, secret: org.loopSecret }),
    towardsMicrosoft: org.towardsMicrosoft,
    ...(group.subject === null ? {} : { subject: group.subject }),
    ...(group.notice === null ? {} : { notice: group.notice }),
    sealed,
    now: parts.now(),
  }
}

/** The largest mail that the next hop takes, as far as is known. */
function limitOf(org: Organization): number {
  return Math.min(org.carryLimit, org.courier.capabilities()?.size || org.carryLimit)
}
