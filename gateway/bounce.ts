import type { Address, OrgId } from '../protocol/identifiers.ts'
import type { Delivery, RecipientResult } from './courier.ts'
import type { HeaderField } from './header.ts'

/** What a bounce tells: RFC 3464, headers only. */
export type BounceParts = {
  readonly org: OrgId
  readonly organization: string
  /** The gateway's own name, for Reporting-MTA and Message-ID. */
  readonly host: string
  /** Who gets it: the MAIL FROM of the failed mail. A mail from `<>` is never bounced. */
  readonly sender: Address
  /** Those refused for good. */
  readonly failed: readonly RecipientResult[]
  /** Of the mail that could not be delivered; only kept ones are returned. */
  readonly fields: readonly HeaderField[]
  /** The value of a system stamp's or loop stamp's field, where one is to be set: `Name: value`, else null. */
  readonly stamp: string | null
  readonly nextHop: string
  readonly arrivedAt: Date
  readonly now: Date
}

/** A multipart/report from `<>` to the sender, ready for the courier. */
export type ComposeBounce = (parts: BounceParts) => Delivery
