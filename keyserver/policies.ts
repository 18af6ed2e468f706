import type { OrgId } from '../protocol/identifiers.ts'
import type { ReleaseFacts, ReleaseVerdict } from '../rulebook/facts.ts'

/** The policies in force. */
export interface Policies {
  /** The policy in force, null while the organization never had a good one. Read it before the transaction. */
  active(org: OrgId): LoadedPolicy | null
}

export type LoadedPolicy = {
  readonly org: OrgId
  readonly hash: string
  readonly text: string
  /** The longest time to live that it allows, seconds. */
  readonly capSeconds: number
  /** Never throws; nothing allowed is denied. */
  readonly decideRelease: (facts: ReleaseFacts) => ReleaseVerdict
}
