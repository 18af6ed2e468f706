import type { Terms } from '../protocol/gateway-api.ts'
import type { AttachmentKind } from './attachment-kind.ts'
import type { MessageText } from './message-text.ts'
import type { NoticeChoice } from './notice.ts'
import type { Carry, TlsDemand } from './policy.ts'

/** What an `outbound` rule can see of a message, one recipient at a time. All of it is bounded by whoever fills it in. */
export type OutboundFacts = {
  readonly message: {
    /** MAIL FROM in comparable form, '' for `<>`. */
    readonly sender: string
    readonly senderDomain: string
    /** Every address of From, comparable form. */
    readonly from: readonly string[]
    /** From is missing, unreadable, or holds an address outside the organization's domains. */
    readonly foreignFrom: boolean
    /** Decoded (RFC 2047), unfolded. */
    readonly subject: string
    /** Words in square brackets in the subject, lower case: `[Secure] Hi` gives `secure`. */
    readonly tags: readonly string[]
    /** By lower-case name; values unfolded, in order. */
    readonly headers: Readonly<Record<string, readonly string[]>>
    /** Octets as accepted. */
    readonly size: number
    /** Those of messages inside the message as well. */
    readonly attachments: readonly Attachment[]
    /** Sensitivity labels, Microsoft's. */
    readonly labels: readonly Label[]
    /** Subject, body and text attachments, as far as they were looked at; '' where no rule asks. */
    readonly text: MessageText
    /** Nothing of that was left out: for its length, its character set, or because the parts could not all be told. */
    readonly textWhole: boolean
    readonly scan: {
      /** `none`: no scanner was asked. `too-large`: it looks at no message of this size. */
      readonly verdict: ScanVerdict
      /** What was found; '' else. */
      readonly name: string
    }
    readonly nullSender: boolean
    /** multipart/report (RFC 6522): delivery and disposition notices. */
    readonly report: boolean
    /** `Auto-Submitted: auto-replied` (RFC 3834), Precedence auto_reply, and their kin; mail that a program wrote is none. */
    readonly autoReply: boolean
    /** text/calendar with METHOD REPLY, or any calendar part: `'' | 'request' | 'reply' | 'cancel' | …`, lower case. */
    readonly calendar: string
    /** A List-* field or Precedence list. */
    readonly list: boolean
    readonly signed: boolean
    /** The whole message, not a part of it. */
    readonly encrypted: boolean
    /** The message could not be read as MIME; it is sealed as it is. */
    readonly malformed: boolean
    /** The sender's own wish for a time to live, seconds; 0 where there is none. */
    readonly ttlWish: number
  }
  readonly recipient: {
    readonly address: string
    readonly domain: string
    /** In one of the organization's own domains. */
    readonly internal: boolean
    /** `verified`: mail reaches the recipient's own host over verified TLS, or does not leave. */
    readonly tls: RecipientTls
  }
  /** Who handed the message in. */
  readonly client: {
    /** The name it signed in with; '' where it did not. */
    readonly identity: string
    /** Its address, canonical text. */
    readonly ip: string
    /** It came over TLS. */
    readonly tls: boolean
  }
}

export type RecipientTls = 'verified' | 'none'

export type ScanVerdict = 'none' | 'clean' | 'infected' | 'too-large'

export type Attachment = {
  /** Decoded; '' without. */
  readonly name: string
  /** Media type, lower case. */
  readonly type: string
  /** By name, type and first octets. */
  readonly kind: AttachmentKind
  /** Octets, its transfer encoding taken off. */
  readonly size: number
  /** A ZIP archive in which at least one file needs a password. */
  readonly locked: boolean
}

/** A sensitivity label, as the sender's program names it in `msip_labels`. */
export type Label = {
  /** Lower case. */
  readonly id: string
  readonly name: string
  /** Id of the directory that the label is of, lower case; '' where it is not said. */
  readonly tenant: string
  readonly enabled: boolean
  /** `standard`, `privileged`, `auto`, lower case; '' where it is not said. */
  readonly method: string
  /** The label has the content encrypted. */
  readonly encrypts: boolean
}

/** What a `release` rule can see. */
export type ReleaseFacts = {
  readonly person: {
    readonly address: string
    readonly domain: string
    readonly internal: boolean
    readonly role: 'recipient' | 'sender'
  }
  readonly envelope: {
    readonly sender: string
    readonly ageSeconds: number
    readonly secondsLeft: number
    /** The outbound rule that sealed it. */
    readonly rule: string
  }
  readonly request: {
    /** The client's address, canonical text. */
    readonly ip: string
    readonly proof: 'code'
    /** UTC. */
    readonly hour: number
    /** 0 is Sunday. UTC. */
    readonly weekday: number
  }
}

/** How a verdict seals. */
export type SealTerms = {
  readonly terms: Terms
  /** In the place of the subject; absent: the subject stays. */
  readonly subject?: string
  /** Absent: `both`. */
  readonly carry?: Carry
  /** Absent: built in, in English. */
  readonly notice?: NoticeChoice
}

export type OutboundVerdict = (
  | ({ readonly kind: 'seal'; readonly rule: string } & SealTerms)
  /** Sealed, and kept until an officer lets it go; the sender is told why, and an officer has so long to decide. */
  | ({
      readonly kind: 'hold'
      readonly rule: string
      readonly because: string
      readonly holdSeconds: number
    } & SealTerms)
  | {
      readonly kind: 'pass'
      readonly rule: string
      /** Absent: as the next hop offers it. */
      readonly tls?: TlsDemand
    }
  | {
      readonly kind: 'refuse'
      readonly rule: string
      readonly because: string
      /** What a scanner said, where that is the reason and no rule. */
      readonly scan?: 'infected' | 'too-large'
    }
) & {
  /** Rules that only observe and would have decided, in their order; absent where there are none. */
  readonly observed?: readonly Observation[]
}

/** What a rule that only observes would have decided; `error-in:<name>` where its condition cannot be worked out. */
export type Observation = { readonly rule: string; readonly would: OutboundVerdict['kind'] }

export type ReleaseVerdict =
  | { readonly kind: 'allow'; readonly rule: string }
  | { readonly kind: 'deny'; readonly rule: string; readonly because: string }
