import type { Database } from 'better-sqlite3'
import { UnreadableError } from '../audit/source.ts'
import { openCopy } from '../audit/sqlite.ts'
import type { Tables } from '../keyserver/tables.ts'
import { exits, Failure } from './io.ts'

/** An envelope as its row says; times are milliseconds since 1970 UTC. */
export type EnvelopeRow = {
  readonly seq: number
  readonly id: string
  readonly org: string
  readonly kind: Tables['envelope']['kind']
  readonly sender: string | null
  readonly rule: string
  readonly policyHash: string
  readonly gateway: string
  readonly issuedAt: number
  readonly confirmedAt: number | null
  readonly expiresAt: number | null
  readonly revokedAt: number | null
  readonly shreddedAt: number | null
}

export type RecipientRow = { readonly address: string; readonly state: Tables['recipient']['state'] }

export type LeafRow = { readonly idx: number; readonly record: Uint8Array; readonly side: Uint8Array | null }

/** What `sealpost trace` looks up in a key server's database. Secrets, codes and sessions are not among it. */
export type TraceDatabase = {
  byId(id: string): readonly EnvelopeRow[]
  byMessage(digest: string): readonly EnvelopeRow[]
  /** As sender or recipient, the newest first. */
  byAddress(address: string, most: number): readonly EnvelopeRow[]
  recipients(envelope: EnvelopeRow): readonly RecipientRow[]
  /** The records about an envelope, in their order. */
  leaves(envelope: EnvelopeRow): readonly LeafRow[]
  /** Address to pseudonym is what the table holds; this is the way back. Null where there is no such person (any more). */
  addressOf(org: string, pseudonym: string): string | null
  close(): void
}

const COLUMNS = `seq, id, org, kind, sender, rule, policy_hash as policyHash, gateway, issued_at as issuedAt, confirmed_at as confirmedAt,
  expires_at as expiresAt, revoked_at as revokedAt, shredded_at as shreddedAt`

/** Reads a copy of its own, so that a running server may be asked and nothing is written beside it. Throws a {@link Failure} where it cannot. */
export function openTraceDatabase(file: string, org: string | null): TraceDatabase {
  try {
    return readerOf(openCopy(file), org)
  } catch (error) {
    if (error instanceof UnreadableError) throw new Failure(error.message, exits.usage)
    if (error instanceof Error && error.message.startsWith('no such table')) {
      throw new Failure(`${file}: it is not a key server's database`, exits.usage)
    }
    throw error
  }
}

function readerOf(db: Database, org: string | null): TraceDatabase {
  const rows = (where: string, order: string) =>
    db.prepare<unknown[], EnvelopeRow>(
      `select ${COLUMNS} from envelope where (${where}) and (? is null or org = ?) order by ${order}`,
    )
  const byId = rows('id = ?', 'seq')
  const byMessage = rows('message_digest = ?', 'seq')
  const byAddress = rows('sender = ? or seq in (select envelope from recipient where address = ?)', 'seq desc limit ?')
  const recipients = db.prepare<unknown[], RecipientRow>(
    'select address, state from recipient where envelope = ? order by address',
  )
  const leaves = db.prepare<unknown[], LeafRow>(
    'select idx, record, side from log_leaf where log = ? and instr(record, ?) > 0 order by idx',
  )
  const person = db.prepare<unknown[], string>('select address from person where org = ? and pseudonym = ?').pluck()
  return {
    byId: (id) => byId.all(id, org, org),
    byMessage: (digest) => byMessage.all(digest, org, org),
    byAddress: (address, most) => byAddress.all(address, address, org, org, most),
    recipients: ({ seq }) => recipients.all(seq),
    // Leaves are canonical JSON: the member stands in them in exactly these octets.
    leaves: ({ org: log, id }) => leaves.all(log, Buffer.from(`"envelope":${JSON.stringify(id)}`)),
    addressOf: (log, pseudonym) => person.get(log, pseudonym) ?? null,
    close: () => void db.close(),
  }
}
