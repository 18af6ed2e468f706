import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { OutgoingMail } from './courier.ts'
import type { SealedCopy } from './sealing.ts'

/** One header field as accepted. */
export type HeaderField = {
  /** As written, without the colon. */
  readonly name: string
  /** The whole field with its name, its folding and its final CRLF. */
  readonly raw: Uint8Array
}

/** All that a sealed mail is built from; the egress look gets the same. */
export type SealedParts = {
  readonly org: OrgId
  /** The organization's name for people. */
  readonly organization: string
  readonly envelope: EnvelopeId
  /** https://<host>/m/<id> */
  readonly link: string
  /** RFC 3339 */
  readonly expiresAt: string
  /** The proven sender, null for `<>`. */
  readonly sender: Address | null
  /** Of this envelope. The notice names those of them that stand in To or Cc. */
  readonly recipients: readonly Address[]
  /** Every field of the accepted message, in order; the header table picks. */
  readonly fields: readonly HeaderField[]
  /** The value of our own Received field, without its name; may hold folds. */
  readonly received: string
  /** The value of the loop stamp Sealpost-Handled. */
  readonly handled: string
  /** What policy puts in the subject's place; absent: the subject is kept. */
  readonly subject?: string
  /** X-MS-Exchange-* and X-LD-Processed are kept only here. */
  readonly towardsMicrosoft: boolean
  /** The envelope to attach; null where the mail does not carry it. */
  readonly sealed: SealedCopy | null
  readonly now: Date
}

/** All that a passed mail is built from. */
export type PassParts = {
  readonly received: string
  readonly handled: string
  /** Of the header as accepted; those that must reach no recipient are removed. */
  readonly fields: readonly HeaderField[]
  /** The octets after the header, beginning with the empty line's CRLF (nothing where there is no body). */
  readonly body: () => AsyncIterable<Uint8Array>
  readonly bodySize: number
  /** Octets above 127 in the body. */
  readonly eightBit: boolean
}

/** The outgoing mail around a sealed copy: docs/format.md, "The outgoing mail". */
export type ComposeSealed = (parts: SealedParts) => OutgoingMail
/** Received and the loop stamp, then the message as accepted less the fields that must reach no recipient. */
export type ComposePassed = (parts: PassParts) => OutgoingMail
