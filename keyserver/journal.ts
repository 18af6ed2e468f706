import type { Person } from '../audit/fields.ts'
import type { AuditRecord } from '../audit/kinds.ts'
import { createSealing, newPseudonym } from '../audit/personal.ts'
import { TIME_SLACK_MS } from '../audit/rules.ts'
import type { Address, OrgId } from '../protocol/identifiers.ts'
import type { Keyring } from './keyring.ts'
import type { Store, Tx } from './store.ts'

/** One log per organization and one for the server's own acts. */
export type LogName = OrgId | 'server'

/** The people of one organization whom a record may name, with their keys. Comes from {@link Journal.persons} only. */
export type Persons = ReadonlyMap<Address, { readonly pseudonym: string; readonly key: Uint8Array }>

/** Turns personal values into what may stand in a record. Throws on an address that is not among the persons given. */
export type Naming = {
  person(address: Address): Person
  /** A commitment to a value about that person: a network address, a provider's reply. */
  value(address: Address, value: string): string
}

/**
 * Writes the log. A record becomes part of the log exactly if its transaction is committed; nobody is told of a decision before.
 *
 *     const persons = await journal.persons(org, [address])
 *     await store.transact(async (tx) => {
 *       journal.append(tx, org, persons, (name) => ({ kind: 'ticket', time: …, request, envelope, person: name.person(address), … }))
 *     })
 */
export interface Journal {
  /**
   * The persons behind these addresses, made where they are new (then their keys are on disk when this resolves). Call it before the
   * transaction.
   */
  persons(org: OrgId, addresses: readonly Address[]): Promise<Persons>
  /** Those of these persons who are at hand; none is made. */
  acquainted(org: OrgId, addresses: readonly Address[]): Persons
  append(tx: Tx, log: LogName, persons: Persons, build: (name: Naming) => AuditRecord): void
}

/** Nobody: for records that name no person. */
export const nobody: Persons = new Map()

/** Persons kept in memory: beyond that the oldest are forgotten, and read again when they come back. */
const REMEMBERED = 50_000

type Known = { readonly pseudonym: string; readonly key: Uint8Array }

/** How far a record's time may lie behind an earlier one before the log says so; half of what verification lets pass. */
const BEHIND_TOLERANCE = TIME_SLACK_MS / 2

/** `seen` is the highest time that any record may bear so far, milliseconds. */
export function createJournal(store: Store, keyring: Keyring, seen = 0): Journal {
  const known = new Map<string, Known>()
  const making = new Map<string, Promise<void>>()
  const highest = new Map<LogName, number>()

  function remember(org: OrgId, address: Address, person: Known): void {
    if (known.size >= REMEMBERED) {
      for (const oldest of known.keys()) {
        known.delete(oldest)
        break
      }
    }
    known.set(`${org}\n${address}`, person)
  }
  async function load(org: OrgId, addresses: readonly Address[]): Promise<void> {
    const found = await store.read(async (reads) => {
      const names: { address: Address; pseudonym: string | null }[] = []
      for (const address of addresses) names.push({ address, pseudonym: await reads.people.find(org, address) })
      return names
    })
    const strangers: Address[] = []
    for (const { address, pseudonym } of found) {
      const key = pseudonym === null ? null : await keyring.personKey(org, pseudonym)
      if (pseudonym === null || key === null) strangers.push(address)
      else remember(org, address, { pseudonym, key })
    }
    if (strangers.length > 0) await introduce(org, strangers)
  }
  async function introduce(org: OrgId, addresses: readonly Address[]): Promise<void> {
    // Or keys of persons whom the database never took would pile up in the key store.
    store.requireRoom()
    const made = addresses.map((address) => ({ address, pseudonym: newPseudonym() }))
    const keys = await keyring.makePersonKeys(
      org,
      made.map(({ pseudonym }) => pseudonym),
    )
    await store.transact(async (tx) => {
      for (const { address, pseudonym } of made) await tx.people.set(org, address, pseudonym)
    })
    for (const { address, pseudonym } of made) {
      const key = keys.get(pseudonym)
      if (key !== undefined) remember(org, address, { pseudonym, key })
    }
  }

  function gather(org: OrgId, addresses: readonly Address[]): Persons {
    const found = new Map<Address, Known>()
    for (const address of addresses) {
      const person = known.get(`${org}\n${address}`)
      if (person !== undefined) found.set(address, person)
    }
    return found
  }

  /** Times that run back are a sign of tampering, unless the log said before that the clock went back. */
  function tellOfClock(tx: Tx, log: LogName, { kind, time }: AuditRecord): void {
    const at = Date.parse(time)
    const before = highest.get(log) ?? seen
    const isBehind = kind !== 'clock' && at < before - BEHIND_TOLERANCE
    highest.set(log, isBehind || kind === 'clock' ? at : Math.max(before, at))
    if (!isBehind) return
    const told = { kind: 'clock', time, request: null, state: 'behind', observed: time } as const
    const record: AuditRecord = { ...told, highest: new Date(before).toISOString() }
    tx.audit.append(log, { record, side: createSealing(log).parts() })
  }

  return {
    persons: async (org, addresses) => {
      const wanted = [...new Set(addresses)]
      const place = (address: Address) => `${org}\n${address}`
      for (;;) {
        const unknown = wanted.filter((address) => !known.has(place(address)))
        if (unknown.length === 0) break
        // One at a time makes a person: two calls for the same address get the same name.
        const mine = unknown.filter((address) => !making.has(place(address)))
        const work = mine.length === 0 ? Promise.resolve() : load(org, mine)
        for (const address of mine) making.set(place(address), work)
        const others = unknown.flatMap((address) => making.get(place(address)) ?? [])
        await Promise.all([work, ...others]).finally(() => {
          for (const address of mine) making.delete(place(address))
        })
      }
      return gather(org, wanted)
    },
    acquainted: (org, addresses) => gather(org, addresses),
    append: (tx, log, persons, build) => {
      const sealing = createSealing(log)
      const keyOf = (address: Address): Known => {
        const person = persons.get(address)
        if (person === undefined) throw new Error('a record names a person who was not asked for before')
        return person
      }
      const record = build({
        person: (address) => {
          const { pseudonym, key } = keyOf(address)
          return sealing.person(pseudonym, key, address)
        },
        value: (address, value) => {
          const { pseudonym, key } = keyOf(address)
          return sealing.value(pseudonym, key, value)
        },
      })
      tellOfClock(tx, log, record)
      tx.audit.append(log, { record, side: sealing.parts() })
    },
  }
}
