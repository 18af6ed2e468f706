import { BOOL, INT, type Kind, LOWER, listOf, TEXT } from './kind.ts'

/** One variable of conditions: its whole name and what it holds. policies/README.md lists exactly these. */
export type Variables = Readonly<Record<string, Kind>>

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
  'message.attachments': listOf({ is: 'record', fields: { name: TEXT, type: TEXT } }),
  'message.nullSender': BOOL,
  'message.report': BOOL,
  'message.autoReply': BOOL,
  'message.calendar': LOWER,
  'message.list': BOOL,
  'message.signed': BOOL,
  'message.encrypted': BOOL,
  'message.malformed': BOOL,
  'message.ttlWish': INT,
  'recipient.address': LOWER,
  'recipient.domain': LOWER,
  'recipient.internal': BOOL,
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
