import { attachmentKinds } from './attachment-kind.ts'
import type { Attachment, Label, RecipientTls, ScanVerdict } from './facts.ts'
import { BOOL, CONTENT, INT, type Kind, LOWER, listOf, TEXT } from './kind.ts'

/** One variable of conditions: its whole name and what it holds. policies/README.md lists exactly these. */
export type Variables = Readonly<Record<string, Kind>>

const attachmentFields: Readonly<Record<keyof Attachment, Kind>> = {
  name: TEXT,
  type: TEXT,
  kind: { is: 'text', values: attachmentKinds },
  size: INT,
  locked: BOOL,
}

const recipientTls: readonly RecipientTls[] = ['verified', 'none']
const scanVerdicts: readonly ScanVerdict[] = ['none', 'clean', 'infected', 'too-large']

const labelFields: Readonly<Record<keyof Label, Kind>> = {
  id: LOWER,
  name: TEXT,
  tenant: LOWER,
  enabled: BOOL,
  method: LOWER,
  encrypts: BOOL,
}

/** What an `outbound` rule can read; {@link OutboundFacts} says what each means. */
export const outboundVariables: Variables = {
  'message.sender': LOWER,
  'message.senderDomain': LOWER,
  'message.from': listOf(LOWER),
  'message.foreignFrom': BOOL,
  'message.subject': TEXT,
  'message.tags': listOf(LOWER),
  'message.headers': { is: 'map', of: listOf(TEXT) },
  'message.size': INT,
  'message.attachments': listOf({ is: 'record', fields: attachmentFields }),
  'message.labels': listOf({ is: 'record', fields: labelFields }),
  'message.text': CONTENT,
  'message.textWhole': BOOL,
  'message.cardNumbers': INT,
  'message.ibans': INT,
  'message.scan.verdict': { is: 'text', values: scanVerdicts },
  'message.scan.name': TEXT,
  'message.nullSender': BOOL,
  'message.report': BOOL,
  'message.autoReply': BOOL,
  'message.calendar': LOWER,
  'message.list': BOOL,
  'message.signed': BOOL,
  'message.encrypted': BOOL,
  'message.malformed': BOOL,
  'message.ttlWish': INT,
  'message.senderGroups': listOf(LOWER),
  'recipient.address': LOWER,
  'recipient.domain': LOWER,
  'recipient.internal': BOOL,
  'recipient.groups': listOf(LOWER),
  'recipient.tls': { is: 'text', values: recipientTls },
  'client.identity': TEXT,
  'client.ip': TEXT,
  'client.tls': BOOL,
}

/** The same in a file that has these groups: another name is found out when the file is read. */
export function outboundVariablesOf(groups: readonly string[]): Variables {
  const names = listOf({ is: 'text', values: groups })
  return { ...outboundVariables, 'message.senderGroups': names, 'recipient.groups': names }
}

/** What a `release` rule can read; {@link ReleaseFacts} says what each means. */
export const releaseVariables: Variables = {
  'person.address': LOWER,
  'person.domain': LOWER,
  'person.internal': BOOL,
  'person.role': { is: 'text', values: ['recipient', 'sender'] },
  'envelope.sender': LOWER,
  'envelope.ageSeconds': INT,
  'envelope.secondsLeft': INT,
  'envelope.rule': TEXT,
  'request.ip': TEXT,
  'request.proof': { is: 'text', values: ['code'] },
  'request.hour': INT,
  'request.weekday': INT,
}
