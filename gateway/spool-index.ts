import type { Address, EnvelopeId } from '../protocol/identifiers.ts'
import type { SpoolEntry, SpoolState } from './spool-entry.ts'

/** One entry of the spool in memory. */
export type Live = {
  readonly entry: SpoolEntry
  /** Octets on disk. */
  readonly size: number
  state: SpoolState
  busy: boolean
  /** Who has not got it by then is given up; milliseconds since 1970. */
  endsAt: number
  /** Until then it needs no confirmation, by the monotonic clock. */
  confirmedUntil: number
  /** Its octets, for an attempt right after it came in; null once that was made, or where there are too many. */
  fresh: readonly Uint8Array[] | null
  /** Of a delay, where it may still be here. */
  notice: string | null
}

export type SpoolCount = {
  readonly entries: number
  readonly octets: number
  readonly held: number
  /** Milliseconds since 1970; null while it is empty. */
  readonly oldestAt: number | null
}

/** All that lies in the spool. */
export type SpoolIndex = {
  add(one: Live): void
  remove(one: Live): void
  get(id: string): Live | undefined
  all(): Iterable<Live>
  /** Whether this copy is here. */
  holds(envelope: EnvelopeId, address: Address): boolean
  count(): SpoolCount
}

export function createSpoolIndex(): SpoolIndex {
  const live = new Map<string, Live>()
  const byEnvelope = new Map<EnvelopeId, Set<Live>>()
  return {
    add(one) {
      const { id, envelope } = one.entry
      live.set(id, one)
      if (envelope !== null) byEnvelope.set(envelope, (byEnvelope.get(envelope) ?? new Set()).add(one))
    },
    remove(one) {
      const { id, envelope } = one.entry
      live.delete(id)
      const shared = envelope === null ? undefined : byEnvelope.get(envelope)
      shared?.delete(one)
      if (envelope !== null && shared?.size === 0) byEnvelope.delete(envelope)
    },
    get: (id) => live.get(id),
    all: () => live.values(),
    holds(envelope, address) {
      const holders = [...(byEnvelope.get(envelope) ?? [])]
      return holders.some(({ state }) => state.waiting.some((one) => one.address === address))
    },
    count() {
      const counted = { entries: live.size, octets: 0, held: 0, oldestAt: null as number | null }
      for (const { entry, state, size } of live.values()) {
        const at = Date.parse(entry.arrivedAt)
        counted.octets += size
        counted.held += state.held ? 1 : 0
        counted.oldestAt = counted.oldestAt === null ? at : Math.min(counted.oldestAt, at)
      }
      return counted
    },
  }
}
