import type { OrgId } from '../protocol/identifiers.ts'
import type { Condition } from './condition.ts'
import type { Groups } from './groups.ts'
import type { NoticeChoice } from './notice.ts'
import type { OutboundReads } from './outbound-reads.ts'

/** How the sealed copy reaches its reader: attached to the mail, kept for the link, or both. */
export type Carry = 'mail' | 'link' | 'both'

/**
 * The TLS that a passed mail must have. `next-hop`: verified, towards whoever we hand it to. `recipient`: verified, all the way to the
 * recipient's own host.
 */
export type TlsDemand = 'next-hop' | 'recipient'

/** What of a sealed mail is seen from outside. */
export type Outside = {
  /** In the place of the subject; null: the subject stays. */
  readonly subject: string | null
  readonly carry: Carry
  readonly notice: NoticeChoice
}

/** One rule for mail that leaves. */
export type OutboundRule = {
  readonly name: string
  readonly condition: Condition
  /** It only says what it would decide, and the next rule is tried. */
  readonly observe: boolean
  /** Its condition asks about the recipient; else its outcome is the same for all of one mail. */
  readonly asksRecipient: boolean
} & (
  | ({ readonly verdict: 'seal' } & RuleSealing)
  | ({
      readonly verdict: 'hold'
      readonly because: string
      /** How long an officer has to decide. */
      readonly holdSeconds: number
    } & RuleSealing)
  | { readonly verdict: 'pass'; readonly tls: TlsDemand | null }
  | { readonly verdict: 'refuse'; readonly because: string }
)

/** How a rule seals. */
type RuleSealing = {
  /** The rule's own time to live, a ceiling for the sender's wish; null where the rule has none. */
  readonly ttlSeconds: number | null
  /** Whether the sender's wish for a time to live counts. */
  readonly wish: boolean
} & {
  readonly [Key in keyof Outside]: Outside[Key] | null
}

/** One rule for opening. */
export type ReleaseRule = { readonly name: string; readonly condition: Condition } & (
  | { readonly verdict: 'allow' }
  | { readonly verdict: 'deny'; readonly because: string }
)

/** What is in force for one organization. Only a file without a fault, all of its tests passed, becomes one. */
export type Policy = {
  readonly org: OrgId
  /** Hex SHA-256 of the file's text in UTF-8. */
  readonly hash: string
  /** The organization's own domains, lower case, A-labels. */
  readonly domains: readonly string[]
  readonly groups: Groups
  readonly ttl: { readonly defaultSeconds: number; readonly capSeconds: number }
  /** The organization's own, by name. */
  readonly notices: ReadonlyMap<string, NoticeChoice>
  /** In the order of the file: the first that matches decides. */
  readonly outbound: readonly OutboundRule[]
  /** What of a mail those rules look at. */
  readonly reads: OutboundReads
  /** One of them asks how safe the way to a recipient's host is. */
  readonly readsRecipientTls: boolean
  /** Of every sealed mail whose rule does not say otherwise. */
  readonly sealing: Outside
  /** For mail that no outbound rule matches. */
  readonly default: 'seal' | 'pass' | 'refuse'
  /** By name: their order decides nothing. */
  readonly release: readonly ReleaseRule[]
}

/** The name under which verdicts appear that no rule took. */
export const DEFAULT_RULE = 'default'

/** The name under which a verdict appears that was forced by a condition that could not be worked out. */
export function ruleInError(name: string): string {
  return `error-in:${name}`
}
