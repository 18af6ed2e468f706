import { createHmac, createSecretKey, randomBytes } from 'node:crypto'
import type { Address } from '../protocol/identifiers.ts'
import { fieldsOf, fieldValue } from './header.ts'
import type { Intake, Mailbox } from './intake.ts'

/** What names an intake or an incident: 16 random octets, base64url. */
export function newId(): string {
  return randomBytes(16).toString('base64url')
}

/** What our Received field tells about the client. */
export type Hop = {
  /** As said in EHLO. */
  readonly helo: string
  readonly address: string
  /** RFC 3848: `ESMTPSA` and its kin. */
  readonly protocol: string
  /** Our own name. */
  readonly host: string
  readonly id: string
  /** The only recipient; null where there are several, so that none is told of another. */
  readonly recipient: Mailbox | null
  readonly at: Date
}

/** The value of our Received field (RFC 5321 4.4), folded. What is not ASCII is left out. */
export function receivedValue(hop: Hop): string {
  const helo = /^[\w.:[\]-]{1,255}$/.test(hop.helo) ? hop.helo : 'unknown'
  const literal = hop.address.includes(':') ? `[IPv6:${hop.address}]` : `[${hop.address}]`
  const target = hop.recipient?.mailbox ?? ''
  const recipient = /^[\x21-\x7e]+$/.test(target) && !/[<>]/.test(target) ? `\r\n\tfor <${target}>` : ''
  return `from ${helo} (${literal})\r\n\tby ${hop.host} with ${hop.protocol} id ${hop.id}${recipient};\r\n\t${date(hop.at)}`
}

/** RFC 5322 3.3, in UTC. */
function date(at: Date): string {
  return at.toUTCString().replace('GMT', '+0000')
}

/** HMAC-SHA-256 of the Message-ID under the organization's trace key, base64url; null without a Message-ID. */
export function messageDigest(intake: Intake, traceKey: Uint8Array): string | null {
  const id = messageId(intake)
  return id === null ? null : messageIdDigest(id, traceKey)
}

/** The same for the Message-ID alone, with its angle brackets, as somebody reads it out. */
export function messageIdDigest(id: string, traceKey: Uint8Array): string {
  return hmac(traceKey, ['sealpost/message/v1', id])
}

/**
 * What tells a recipient's copy from any other across retries and gateways: HMAC-SHA-256 under the trace key of MAIL FROM, Message-ID,
 * digest without trace fields, the recipient, and how often it went through a gateway before: what goes in a circle is no retry, for which
 * it would be taken and never arrive. Null without a Message-ID.
 */
export function retryKey(intake: Intake, recipient: Address, traceKey: Uint8Array): string | null {
  const id = messageId(intake)
  if (id === null) return null
  const digest = Buffer.from(intake.content.traceFreeDigest).toString('base64url')
  const passes = passesOf(intake)
  const round = passes === 0 ? [] : [`${passes}`]
  return hmac(traceKey, ['sealpost/retry/v1', intake.sender?.address ?? '', id, digest, recipient, ...round])
}

/** By the Received fields as {@link receivedValue} writes them, whichever gateway did. */
function passesOf({ content }: Intake): number {
  const ours = /\bby \S+ with \w+ id [\w-]{22}[\s;]/
  return fieldsOf(content.header, 'received').filter(({ value }) => ours.test(value)).length
}

function messageId(intake: Intake): string | null {
  const id = fieldValue(intake.content.header, 'message-id')
  return id === null || id === '' ? null : id
}

/** No part can hold a line feed, so the parts cannot run into each other. A key object: of plain octets Node makes one by way of an exception. */
function hmac(key: Uint8Array, parts: readonly string[]): string {
  return createHmac('sha256', createSecretKey(key)).update(parts.join('\n')).digest('base64url')
}
