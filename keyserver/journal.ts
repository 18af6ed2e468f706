import type { Person } from '../audit/fields.ts'
import type { AuditRecord } from '../audit/kinds.ts'
import type { Address, OrgId } from '../protocol/identifiers.ts'
import type { Tx } from './store.ts'

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
  append(tx: Tx, log: LogName, persons: Persons, build: (name: Naming) => AuditRecord): void
}
