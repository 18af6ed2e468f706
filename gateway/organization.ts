import type { OrgId } from '../protocol/identifiers.ts'
import type { Courier } from './courier.ts'
import type { Scanner } from './scanner.ts'

/** An organization that this gateway works for, with what only configuration knows of it. */
export type Organization = {
  readonly id: OrgId
  /** For people, in notices and bounces. */
  readonly name: string
  /** Keys the digests by which retries and threads are known; the same on every gateway of the organization. */
  readonly traceKey: Uint8Array
  /** In the loop stamp; the provider's routing rule looks for it. */
  readonly loopSecret: string
  /** Believed in a stamp as well, while another takes its place; null: none. */
  readonly otherLoopSecret: string | null
  readonly courier: Courier
  /** Null: nobody looks into its mail. */
  readonly scanner: Scanner | null
  /** The next hop's host name. */
  readonly nextHop: string
  /** Whether the next hop is Microsoft's. */
  readonly towardsMicrosoft: boolean
  /** A mail that would be larger goes without its envelope, octets. */
  readonly carryLimit: number
}
