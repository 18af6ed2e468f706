import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { Tx } from './store.ts'

/** One log per organization and one for the server's own acts. */
export type LogName = OrgId | 'server'

/** One fact for the log. Everything but `personal` is readable by whoever may read that log. */
export type Entry = {
  readonly log: LogName
  readonly kind:
    | 'issue'
    | 'confirm'
    | 'outcome'
    | 'code'
    | 'session'
    | 'ticket'
    | 'release'
    | 'refusal'
    | 'revoke'
    | 'expire'
    | 'shred'
    | 'policy'
    | 'policy-refused'
    | 'clock'
    | 'start'
    | 'strangers'
  readonly at: number
  readonly envelope?: EnvelopeId
  readonly rule?: string
  /** A code or a plain word, for `refusal` the problem code. */
  readonly reason?: string
  readonly facts?: Readonly<Record<string, string | number | boolean | null | readonly string[]>>
  /** Values about people: each stands in the log as a salted hash, sealed beside under that person's own key. */
  readonly personal?: readonly Personal[]
}

export type Personal = { readonly name: string; readonly value: string; readonly person: Person }

/** A person as a log knows them. Comes from {@link Journal.persons} only. */
export type Person = { readonly pseudonym: string; readonly key: Uint8Array }

export interface Journal {
  /**
   * The persons behind these addresses, made where they are new (then their keys are on disk when this resolves). Call it before the
   * transaction.
   */
  persons(org: OrgId, addresses: readonly Address[]): Promise<ReadonlyMap<Address, Person>>
  /** Writes the entry into the transaction: it is in the log exactly if the transaction is committed. */
  append(tx: Tx, entry: Entry): Promise<void>
}

/** The rows behind the log; only the journal touches them. */
export interface AuditRows {
  placeholder?: never
}
