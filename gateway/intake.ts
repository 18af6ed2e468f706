import type { Address, OrgId } from '../protocol/identifiers.ts'
import type { Header } from './header.ts'

/** A message as it was accepted, before anything is decided about it. Its octets have CRLF line ends throughout. */
export type Intake = {
  /** Names this attempt in the log, in our Received line and in refusals: 16 random octets, base64url. */
  readonly id: string
  /** Proven by the client. */
  readonly org: OrgId
  /** The proven MAIL FROM; null for `<>`. */
  readonly sender: Mailbox | null
  /** In the order of RCPT, no two of them the same person. */
  readonly recipients: readonly IntakeRecipient[]
  readonly smtpUtf8: boolean
  readonly receivedAt: Date
  /** Our Received field (RFC 5321 4.4), with its closing CRLF; ASCII. */
  readonly received: Uint8Array
  /** The whole header as accepted; see {@link Intake.plaintext} for what leaves of it. */
  readonly header: Header
  /** Octets as accepted. */
  readonly size: number
  /** Octets of {@link Intake.plaintext}. */
  readonly plainSize: number
  /** SHA-256 of the octets as accepted. */
  readonly digest: Uint8Array
  /** SHA-256 without the fields that differ between attempts (`isTrace` in header.ts). */
  readonly traceFreeDigest: Uint8Array
  /** The accepted octets where they wait in memory (up to 1 MiB); null where they lie in the scratch file. */
  readonly octets: Uint8Array | null
  /** What is sealed or passed on, where it waits in memory; null where it lies in the scratch file. */
  readonly plainOctets: Uint8Array | null
  /** The accepted octets; can be read again and again. Throws if the scratch file was altered. */
  content(): AsyncIterable<Uint8Array>
  /** The accepted octets less the fields that must reach no recipient (`reachesNoRecipient` in header.ts); can be read again. */
  plaintext(): AsyncIterable<Uint8Array>
  /** Frees memory and scratch file. Nothing can be read afterwards. */
  discard(): Promise<void>
}

export type Mailbox = {
  /** For comparing and for the key server. */
  readonly address: Address
  /** For the next hop: local part as given, domain as A-labels. ASCII unless the local part is not. */
  readonly mailbox: string
}

export type IntakeRecipient = Mailbox & {
  /** NOTIFY of RFC 3461 as given, upper case; null without. */
  readonly notify: readonly string[] | null
  /** ORCPT of RFC 3461 as given (`rfc822;…`, xtext decoded); null without. */
  readonly orcpt: string | null
}
