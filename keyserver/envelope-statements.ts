import type { Kysely } from 'kysely'
import { statement } from './statement.ts'
import type { Copy, Envelope, Recipient } from './store.ts'
import type { Tables } from './tables.ts'

type Id = { id: string }

/** The running number of the envelope with this id. */
function seqOf(db: Kysely<Tables>, id: string) {
  return db.selectFrom('envelope').select('seq').where('id', '=', id)
}

/**
 * What is asked of envelopes and what belongs to them. One table in every FROM, the rest by scalar subqueries: SQLite's planner looks at the
 * values that joins are asked with, and so prepares such a statement anew each time.
 */
export function readStatements(db: Kysely<Tables>) {
  const recipient = db
    .selectFrom('recipient')
    .select(['address', 'state', 'lease_gateway', 'lease_instance', 'lease_until', 'doubt'])
    .select((eb) => [
      eb
        .selectFrom('envelope')
        .select('envelope.id')
        .whereRef('envelope.seq', '=', 'recipient.envelope')
        .$castTo<string>()
        .as('id'),
      eb
        .selectFrom('envelope')
        .select('envelope.org')
        .whereRef('envelope.seq', '=', 'recipient.envelope')
        .$castTo<string>()
        .as('org'),
    ])
  const copy = db
    .selectFrom('copy')
    .select(['digest', 'sealed_size', 'plain_size', 'copy.gateway', 'at'])
    .select((eb) =>
      eb
        .selectFrom('envelope')
        .select('envelope.id')
        .whereRef('envelope.seq', '=', 'copy.envelope')
        .$castTo<string>()
        .as('id'),
    )
  return {
    find: statement<Id, EnvelopeRow>((slot) => withSecret(db).where('envelope.id', '=', slot('id'))),
    recipient: statement<Id & { address: string }, RecipientRow>((slot) =>
      recipient.where('envelope', '=', seqOf(db, slot('id'))).where('address', '=', slot('address')),
    ),
    recipients: statement<Id, RecipientRow>((slot) => recipient.where('envelope', '=', seqOf(db, slot('id')))),
    retried: statement<{ org: string; key: string; since: number }, Pick<Tables['retry'], 'envelope' | 'address'>>(
      (slot) =>
        db
          .selectFrom('retry')
          .select(['envelope', 'address'])
          .where('org', '=', slot('org'))
          .where('key', '=', slot('key'))
          .where('at', '>', slot('since')),
    ),
    recipientOf: statement<{ envelope: number; address: string }, RecipientRow>((slot) =>
      recipient.where('envelope', '=', slot('envelope')).where('address', '=', slot('address')),
    ),
    copy: statement<Id & { digest: string }, CopyRow>((slot) =>
      copy.where('envelope', '=', seqOf(db, slot('id'))).where('digest', '=', slot('digest')),
    ),
    copies: statement<Id, CopyRow>((slot) =>
      copy
        .where('envelope', '=', seqOf(db, slot('id')))
        .orderBy('at', 'desc')
        .orderBy('digest'),
    ),
  }
}

type NewRow = Omit<
  Envelope,
  'terms' | 'sealedSecret' | 'confirmedAt' | 'revokedAt' | 'shredded_at' | 'shreddedAt' | 'bucket'
> & { bucket: string | null; terms: string | null; messageDigest: string | null; due_at: number | null }

/** What issue, confirm and outcome change. */
export function writeStatements(db: Kysely<Tables>) {
  return {
    add: statement<NewRow, { seq: number }>((slot) =>
      db
        .insertInto('envelope')
        .returning('seq')
        .values({
          id: slot('id'),
          org: slot('org'),
          kind: slot('kind'),
          sender: slot('sender'),
          rule: slot('rule'),
          policy_hash: slot('policyHash'),
          message_digest: slot('messageDigest'),
          terms: slot('terms'),
          terms_hash: slot('termsHash'),
          expires_at: slot('expiresAt'),
          bucket: slot('bucket'),
          gateway: slot('gateway'),
          issued_at: slot('issuedAt'),
          confirm_by: slot('confirmBy'),
          due_at: slot('due_at'),
        }),
    ),
    addSecret: statement<{ envelope: number; sealed: Uint8Array }, unknown>((slot) =>
      db.insertInto('secret').values({ envelope: slot('envelope'), sealed: slot('sealed') }),
    ),
    addRecipient: statement<{ envelope: number; address: string }, unknown>((slot) =>
      db
        .insertInto('recipient')
        .values({ envelope: slot('envelope'), address: slot('address'), state: 'open' })
        .onConflict((conflict) => conflict.doNothing()),
    ),
    keepRetry: statement<Tables['retry'], unknown>((slot) =>
      db
        .insertInto('retry')
        .values({
          org: slot('org'),
          key: slot('key'),
          envelope: slot('envelope'),
          address: slot('address'),
          at: slot('at'),
        })
        .onConflict((conflict) =>
          conflict.columns(['org', 'key']).doUpdateSet((eb) => ({
            envelope: eb.ref('excluded.envelope'),
            address: eb.ref('excluded.address'),
            at: eb.ref('excluded.at'),
          })),
        ),
    ),
    prolong: statement<Id & { confirmBy: number }, unknown>((slot) =>
      db
        .updateTable('envelope')
        .set((eb) => ({
          confirm_by: slot('confirmBy'),
          due_at: eb.case().when('due_at', 'is', null).then(null).else(slot('confirmBy')).end(),
        }))
        .where('id', '=', slot('id'))
        .where('confirmed_at', 'is', null)
        .where('revoked_at', 'is', null),
    ),
    setRecipient: statement<
      Id & {
        address: string
        state: Recipient['state']
        gateway: string | null
        instance: string | null
        until: number | null
      },
      unknown
    >((slot) =>
      db
        .updateTable('recipient')
        .set({
          state: slot('state'),
          lease_gateway: slot('gateway'),
          lease_instance: slot('instance'),
          lease_until: slot('until'),
        })
        .where('envelope', '=', seqOf(db, slot('id')))
        .where('address', '=', slot('address')),
    ),
    doubt: statement<Id & { address: string }, unknown>((slot) =>
      db
        .updateTable('recipient')
        .set({ doubt: 1 })
        .where('envelope', '=', seqOf(db, slot('id')))
        .where('address', '=', slot('address')),
    ),
    confirm: statement<Id & { at: number }, unknown>((slot) =>
      db
        .updateTable('envelope')
        .set((eb) => ({
          confirmed_at: slot('at'),
          due_at: eb.case().when('due_at', 'is', null).then(null).else(eb.ref('expires_at')).end(),
        }))
        .where('id', '=', slot('id'))
        .where('confirmed_at', 'is', null),
    ),
    addCopy: statement<Copy, unknown>((slot) =>
      db
        .insertInto('copy')
        .values({
          envelope: seqOf(db, slot('envelope')),
          digest: slot('digest'),
          sealed_size: slot('sealedSize'),
          plain_size: slot('plainSize'),
          gateway: slot('gateway'),
          at: slot('at'),
        })
        .onConflict((conflict) => conflict.doNothing()),
    ),
  }
}

/** Octets as long as a sealed secret, and nothing of it. */
const BLANK = new Uint8Array(60)

/** What ends envelopes. */
export function shredStatements(db: Kysely<Tables>) {
  return {
    revoke: statement<Id & { at: number }, { id: string }>((slot) =>
      db
        .updateTable('envelope')
        .set((eb) => ({
          revoked_at: slot('at'),
          due_at: eb.case().when('due_at', 'is', null).then(null).else(slot('at')).end(),
        }))
        .where('id', '=', slot('id'))
        .where('revoked_at', 'is', null)
        .returning('id'),
    ),
    withdraw: statement<Id & { at: number }, unknown>((slot) =>
      db
        .updateTable('envelope')
        .set({ due_at: slot('at') })
        .where('id', '=', slot('id'))
        .where('due_at', 'is not', null),
    ),
    doomed: statement<{ now: number; limit: number }, EnvelopeRow>((slot) =>
      withSecret(db).where('due_at', '<=', slot('now')).orderBy('due_at').limit(slot('limit')),
    ),
    blank: statement<Id, unknown>((slot) =>
      db
        .updateTable('secret')
        .set({ sealed: BLANK })
        .where('envelope', '=', seqOf(db, slot('id'))),
    ),
    shred: statement<Id & { at: number }, unknown>((slot) =>
      db
        .updateTable('envelope')
        .set({ shredded_at: slot('at'), due_at: null })
        .where('id', '=', slot('id'))
        .where('shredded_at', 'is', null),
    ),
    // What goes before its day is over leaves a bucket whose key still opens the backups of what went.
    stir: statement<Id & { at: number }, unknown>((slot) =>
      db
        .insertInto('stirred')
        .columns(['org', 'bucket'])
        .expression((eb) =>
          eb
            .selectFrom('envelope')
            .select(['org', (sub) => sub.ref('bucket').$notNull().as('bucket')])
            .where('id', '=', slot('id'))
            .where('bucket', 'is not', null)
            .where('expires_at', '>', slot('at')),
        )
        .onConflict((conflict) => conflict.doNothing()),
    ),
    forgetRetries: statement<{ before: number }, unknown>((slot) =>
      db.deleteFrom('retry').where('at', '<', slot('before')),
    ),
    inBucket: statement<{ org: string; bucket: string; limit: number }, EnvelopeRow>((slot) =>
      withSecret(db)
        .where('org', '=', slot('org'))
        .where('bucket', '=', slot('bucket'))
        .where('due_at', 'is not', null)
        .limit(slot('limit')),
    ),
    reseal: statement<Id & { sealed: Uint8Array }, unknown>((slot) =>
      db
        .updateTable('secret')
        .set({ sealed: slot('sealed') })
        .where('envelope', '=', seqOf(db, slot('id'))),
    ),
    setBucket: statement<Id & { bucket: string }, unknown>((slot) =>
      db
        .updateTable('envelope')
        .set({ bucket: slot('bucket') })
        .where('id', '=', slot('id')),
    ),
    stirred: statement<object, Tables['stirred']>(() => db.selectFrom('stirred').selectAll()),
    settle: statement<Tables['stirred'], unknown>((slot) =>
      db.deleteFrom('stirred').where('org', '=', slot('org')).where('bucket', '=', slot('bucket')),
    ),
  }
}

function withSecret(db: Kysely<Tables>) {
  return db
    .selectFrom('envelope')
    .selectAll('envelope')
    .select((eb) =>
      eb
        .selectFrom('secret')
        .select('secret.sealed')
        .whereRef('secret.envelope', '=', 'envelope.seq')
        .$castTo<Uint8Array | null>()
        .as('sealed'),
    )
}

export type EnvelopeRow = Omit<Tables['envelope'], 'seq'> & { sealed: Uint8Array | null }
export type RecipientRow = Omit<Tables['recipient'], 'envelope' | 'doubt'> & Id & { org: string; doubt: number }
export type CopyRow = Omit<Tables['copy'], 'envelope'> & Id
