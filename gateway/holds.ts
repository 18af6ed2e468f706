import type { HoldFate } from '../protocol/hold-api.ts'
import type { EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import { GatewayError } from './error.ts'
import type { HeaderField } from './header.ts'
import { type HoldEntry, holdEntryOf, subjectOfHold } from './hold-entry.ts'
import { carryOut, type HoldFateParts } from './hold-fate.ts'
import type { HoldFolder } from './hold-folder.ts'
import type { IntakeRecipient } from './intake.ts'
import type { KeyServer } from './key-server.ts'
import type { Organization } from './organization.ts'
import { type Order, sealMessage } from './preparation.ts'
import { heldHere } from './recipient-result.ts'

/** Mail that waits for an officer. What is to become of it only the key server says; this side keeps it, and does that. */
export type Holds = {
  /**
   * Seals the message and keeps it: on the disk, confirmed as held, and its sender told, when it resolves. Rejects where one of it cannot be done;
   * then the client tries again, and nothing was lost or is held twice.
   */
  keep(order: Order, recipients: readonly IntakeRecipient[], outside: readonly HeaderField[]): Promise<void>
  /** A client that tries again was told that this is held: its sender is, too, if that was not done yet. */
  remind(envelope: EnvelopeId): Promise<void>
  /** Something became of an envelope. */
  note(envelope: EnvelopeId): void
  /** Asks for the fate of all that something may have become of, and carries it out, as long as key server and disk let it. Never rejects. */
  poll(): Promise<void>
  /** A poll under way ends after the mail that it is at. */
  stop(): void
  stats(): HoldStats
}

export type HoldStats = {
  readonly mails: number
  readonly octets: number
  /** Files that cannot be read. */
  readonly damaged: number
  /** Milliseconds since 1970; null while there is none. */
  readonly oldestAt: number | null
}

export type HoldsParts = HoldFateParts & {
  readonly folder: HoldFolder
  readonly organizations: ReadonlyMap<OrgId, Organization>
  readonly keyServer: Pick<KeyServer, 'hold' | 'holdFate' | 'outcome'>
}

/** As often all of it is asked for: a key server that was restored from an older copy has no news of what it no longer knows. Milliseconds. */
const ASK_ALL_MS = 3_600_000

/** What is kept of one in memory; the rest is read when something is done with it. */
type Live = Pick<HoldEntry, 'id' | 'org' | 'envelope' | 'intake'> & {
  readonly digest: string
  readonly at: number
  readonly size: number
  /** By this run of the process. */
  told: boolean
}

/** Takes up what an earlier run left: all of it is asked for at the first poll. */
export async function openHolds(parts: HoldsParts): Promise<Holds> {
  const { folder, keyServer, organizations, log } = parts
  const live = new Map<string, Live>()
  const due = new Set<Live>()
  let damaged = 0
  let isStopped = false
  let allAskedAt = parts.now().getTime()
  for await (const loaded of folder.load()) {
    if (loaded.kind === 'damaged') {
      damaged += 1
      log.error('a held mail cannot be read', { file: loaded.id, cause: loaded.cause })
      continue
    }
    due.add(enter(loaded.entry, loaded.size))
  }

  function enter(entry: HoldEntry, size: number): Live {
    const { id, org, envelope, intake, sealed, arrivedAt } = entry
    const at = Date.parse(arrivedAt)
    const one: Live = { id, org, envelope, intake, digest: sealed.digest, at, size, told: false }
    live.set(id, one)
    return one
  }
  const of = (id: EnvelopeId) => [...live.values()].filter(({ envelope }) => envelope === id)

  async function remove(one: Live): Promise<void> {
    live.delete(one.id)
    due.delete(one)
    await folder.remove(one.id)
  }

  /** The file is there before: what the key server says is held can be found again. */
  async function confirm(one: Live, { org, envelope: id, sealed, recipients }: HoldEntry): Promise<void> {
    const addresses = recipients.map(({ address }) => address)
    // Where no answer comes, it may be held or not.
    due.add(one)
    const result = await keyServer.hold({ org, id, sealed, recipients: addresses })
    if (result.kind === 'refused') {
      await remove(one)
      const message = `hold: ${result.code}`
      throw new GatewayError(result.code === 'conflict' ? 'busy' : 'key-server', { message })
    }
    due.delete(one)
  }

  async function tell(one: Live, entry: HoldEntry, org: Organization): Promise<void> {
    const because = entry.group.hold?.because ?? ''
    const results = entry.recipients.map(({ mailbox }) => heldHere(mailbox, because))
    await parts.spool.tell(subjectOfHold(entry), org, 'held', results, new Date(entry.until))
    one.told = true
  }

  async function settle(one: Live, fate: HoldFate): Promise<void> {
    const { org: id, envelope, intake } = one
    const org = organizations.get(id)
    if (org === undefined) return log.error('mail of an organization that is gone is held', { org: id, envelope })
    if (fate.kind === 'held') due.delete(one)
    if (fate.kind === 'held' || fate.kind === 'waiting') return
    if (fate.kind !== 'gone') await carryOut(parts, org, await folder.read(one.id), fate)
    await remove(one)
    log.info('a held mail is done with', { org: id, intake, envelope, outcome: fate.kind })
  }

  return {
    async keep(order, recipients, outside) {
      const copy = await sealMessage(parts, order)
      try {
        const entry = holdEntryOf(order, recipients, outside, copy)
        const one = enter(entry, await folder.add(entry, copy.chunks()))
        await confirm(one, entry)
        await tell(one, entry, order.org)
        const { org, intake, envelope, group } = entry
        log.info('a mail is held', { org, intake, envelope, rule: group.rule })
      } finally {
        await copy.dispose()
      }
    },
    async remind(envelope) {
      for (const one of of(envelope)) {
        const org = organizations.get(one.org)
        if (!one.told && org !== undefined) await tell(one, await folder.read(one.id), org)
      }
    },
    note(envelope) {
      for (const one of of(envelope)) due.add(one)
    },
    async poll() {
      const now = parts.now().getTime()
      if (Math.abs(now - allAskedAt) >= ASK_ALL_MS) {
        for (const one of live.values()) due.add(one)
        allAskedAt = now
      }
      for (const one of [...due]) {
        if (isStopped) return
        const { org, envelope, digest } = one
        try {
          await settle(one, await keyServer.holdFate({ org, id: envelope, digest }))
        } catch (cause) {
          log.warn('a held mail waits', { org, envelope, cause })
          // The next would wait for the same.
          if (cause instanceof GatewayError && (cause.code === 'key-server' || cause.code === 'disk-full')) return
        }
      }
    },
    stop() {
      isStopped = true
    },
    stats() {
      const all = [...live.values()]
      const oldestAt = all.length === 0 ? null : Math.min(...all.map(({ at }) => at))
      return { mails: all.length, octets: all.reduce((sum, { size }) => sum + size, 0), damaged, oldestAt }
    },
  }
}
