import type { ConfirmRequest } from '../protocol/gateway-api.ts'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import { keepByLink, keepsByLink } from './by-link.ts'
import type { MessageWish } from './dsn.ts'
import { type HeaderField, parseHeader } from './header.ts'
import { isKept, rowOf } from './header-table.ts'
import type { IntakeRecipient, Mailbox } from './intake.ts'
import type { Order, Prepared, Wrapping } from './preparation.ts'
import type { Group } from './routing.ts'
import type { SealedCopy } from './sealing.ts'
import { newSpoolId, type SpoolEntry } from './spool-entry.ts'
import { returnedFields, type Subject } from './spool-notice.ts'

/** One mail that waits for an officer: all that is needed to compose it later around its sealed copy. Written once, encrypted. */
export type HoldEntry = {
  /** The name of its file. */
  readonly id: string
  readonly org: OrgId
  readonly envelope: EnvelopeId
  readonly sealed: NonNullable<ConfirmRequest['sealed']>
  /** How the rule seals, and why it holds. */
  readonly group: Omit<Group, 'recipients'>
  readonly sender: Mailbox | null
  readonly recipients: readonly IntakeRecipient[]
  readonly wish: MessageWish
  /** The value of our Received field. */
  readonly received: string
  /** Octets of those header fields that may stand outside, base64. */
  readonly header: string
  /** The header fields that a notice returns. */
  readonly returned: string
  /** RFC 3339. */
  readonly arrivedAt: string
  /** When it goes back, if nobody has decided; RFC 3339. */
  readonly until: string
  /** Names the message in the log. */
  readonly intake: string
}

/** `recipients` are those of the order's group whose copy is not here or elsewhere already; `outside` the fields as they may be given back. */
export function holdEntryOf(
  { org, intake, group, envelope }: Order,
  recipients: readonly IntakeRecipient[],
  outside: readonly HeaderField[],
  { digest, sealedSize, plainSize }: SealedCopy,
): HoldEntry {
  const { recipients: _, ...how } = group
  const kept = intake.content.header.fields.filter(({ key }) => {
    // What the rule hides is in the sealed copy, and nowhere else.
    return isKept(rowOf(key), true) && !(key === 'subject' && group.subject !== null)
  })
  return {
    ...{ id: newSpoolId(), org: org.id, envelope: envelope.id, sealed: { digest, sealedSize, plainSize }, group: how },
    ...{ sender: intake.sender, recipients, wish: intake.wish, received: intake.received },
    header: Buffer.concat(kept.map(({ raw }) => raw)).toString('base64'),
    returned: returnedFields(outside),
    arrivedAt: intake.receivedAt.toISOString(),
    until: envelope.key?.expiresAt ?? intake.receivedAt.toISOString(),
    intake: intake.id,
  }
}

/** What the outgoing mail is composed of, once it is let go. */
export function wrappingOf(entry: HoldEntry, org: Wrapping['org']): Wrapping {
  const { group, sender, recipients, received, header, envelope } = entry
  const fields = parseHeader(Buffer.from(header, 'base64'))?.fields ?? []
  return {
    org,
    group,
    intake: { sender, received, content: { header: { fields } } },
    envelope: { id: envelope, recipients: recipients.map(({ address }) => ({ address })) },
  }
}

/** For the spool, where it waits for its delivery from `now` on. */
export async function spoolEntryOf(
  entry: HoldEntry,
  left: readonly Address[],
  { mail, byLink }: Pick<Prepared, 'mail' | 'byLink'>,
  now: Date,
): Promise<SpoolEntry> {
  const { org, envelope, sealed, sender, wish, returned, intake } = entry
  const { size, smtputf8, eightBit } = mail
  const recipients = entry.recipients.filter(({ address }) => left.includes(address))
  return {
    ...{ id: newSpoolId(), kind: 'message', org, envelope, sealed, sender, recipients, wish, returned, intake },
    mail: { size, smtputf8, eightBit },
    ...(keepsByLink(mail, byLink) ? { byLink: await keepByLink(byLink) } : {}),
    arrivedAt: now.toISOString(),
  }
}

/** What a notice to its sender is about. */
export function subjectOfHold({ sender, recipients, wish, returned, arrivedAt, intake }: HoldEntry): Subject {
  return { sender, recipients, wish, returned, arrivedAt, intake }
}
