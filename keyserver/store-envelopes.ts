import type { Kysely } from 'kysely'
import type { Terms } from '../protocol/gateway-api.ts'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import { type Run, statement } from './statement.ts'
import type { Copy, Envelope, Envelopes, Recipient } from './store.ts'
import type { Tables } from './tables.ts'

/** Gives envelopes, recipients, copies and retry keys on whatever connection or transaction is run. */
export function envelopeStatements(db: Kysely<Tables>): (run: Run) => Envelopes {
  const s = { ...readStatements(db), ...writeStatements(db), ...shredStatements(db) }
  return (run) => ({
    find: async (id) => mapFirst(await s.find(run, { id }), toEnvelope),
    recipient: async (id, address) => mapFirst(await s.recipient(run, { id, address }), toRecipient),
    recipients: async (id) => (await s.recipients(run, { id })).map(toRecipient),
    retried: async (org, key, since) => mapFirst(await s.retried(run, { org, key, since }), toRecipient),
    copy: async (id, digest) => mapFirst(await s.copy(run, { id, digest }), toCopy),
    copies: async (id) => (await s.copies(run, { id })).map(toCopy),
    add: async (envelope) => {
      const { recipients, sealedSecret, terms, ...rest } = envelope
      const due_at = sealedSecret === null ? null : envelope.confirmBy
      const [row] = await s.add(run, { ...rest, terms: terms === null ? null : JSON.stringify(terms), due_at })
      const seq = row?.seq ?? 0
      if (sealedSecret !== null) await s.addSecret(run, { envelope: seq, sealed: sealedSecret })
      for (const { address, retryKey } of recipients) {
        await s.addRecipient(run, { envelope: seq, address })
        if (retryKey === null) continue
        await s.keepRetry(run, { org: rest.org, key: retryKey, envelope: seq, address, at: rest.issuedAt })
      }
    },
    prolong: async (id, confirmBy) => void (await s.prolong(run, { id, confirmBy })),
    setRecipient: async (id, address, state, lease) => {
      const { gateway = null, instance = null, until = null } = lease ?? {}
      await s.setRecipient(run, { id, address, state, gateway, instance, until })
    },
    doubt: async (id, address) => void (await s.doubt(run, { id, address })),
    withdraw: async (id, at) => void (await s.withdraw(run, { id, at })),
    confirm: async (id, at) => void (await s.confirm(run, { id, at })),
    addCopy: async (copy) => void (await s.addCopy(run, copy)),
    revoke: async (id, at) => (await s.revoke(run, { id, at })).length > 0,
    doomed: async (now, limit) => (await s.doomed(run, { now, limit })).map(toEnvelope),
    shred: async (id, at) => {
      await s.blank(run, { id })
      await s.shred(run, { id, at })
      await s.stir(run, { id, at })
    },
    inBucket: async (org, bucket, limit) => (await s.inBucket(run, { org, bucket, limit })).map(toEnvelope),
    reseal: async (id, bucket, sealed) => {
      await s.reseal(run, { id, sealed })
      await s.setBucket(run, { id, bucket })
    },
    stirred: async () => (await s.stirred(run, {})).map((row) => ({ org: row.org as OrgId, bucket: row.bucket })),
    settle: async (org, bucket) => void (await s.settle(run, { org, bucket })),
    forgetRetries: async (before) => void (await s.forgetRetries(run, { before })),
  })
}

type Id = { id: string }

/** The running number of the envelope with this id. */
function seqOf(db: Kysely<Tables>, id: string) {
  return db.selectFrom('envelope').select('seq').where('id', '=', id)
}

function readStatements(db: Kysely<Tables>) {
  const recipient = db
    .selectFrom('recipient')
    .innerJoin('envelope', 'envelope.seq', 'recipient.envelope')
    .select([
      'envelope.id',
      'envelope.org',
      'address',
      'state',
      'lease_gateway',
      'lease_instance',
      'lease_until',
      'doubt',
    ])
  const copy = db
    .selectFrom('copy')
    .innerJoin('envelope', 'envelope.seq', 'copy.envelope')
    .select(['envelope.id', 'digest', 'sealed_size', 'plain_size', 'copy.gateway', 'at'])
  return {
    find: statement<Id, EnvelopeRow>((slot) => withSecret(db).where('envelope.id', '=', slot('id'))),
    recipient: statement<Id & { address: string }, RecipientRow>((slot) =>
      recipient.where('envelope.id', '=', slot('id')).where('address', '=', slot('address')),
    ),
    recipients: statement<Id, RecipientRow>((slot) => recipient.where('envelope.id', '=', slot('id'))),
    retried: statement<{ org: string; key: string; since: number }, RecipientRow>((slot) =>
      recipient
        .innerJoin('retry', (join) =>
          join.onRef('retry.envelope', '=', 'recipient.envelope').onRef('retry.address', '=', 'recipient.address'),
        )
        .where('retry.org', '=', slot('org'))
        .where('retry.key', '=', slot('key'))
        .where('retry.at', '>', slot('since'))
        .clearSelect()
        .select([
          'envelope.id',
          'envelope.org',
          'recipient.address',
          'state',
          'lease_gateway',
          'lease_instance',
          'lease_until',
          'doubt',
        ]),
    ),
    copy: statement<Id & { digest: string }, CopyRow>((slot) =>
      copy.where('envelope.id', '=', slot('id')).where('digest', '=', slot('digest')),
    ),
    copies: statement<Id, CopyRow>((slot) =>
      copy.where('envelope.id', '=', slot('id')).orderBy('at', 'desc').orderBy('digest'),
    ),
  }
}

type NewRow = Omit<
  Envelope,
  'terms' | 'sealedSecret' | 'confirmedAt' | 'revokedAt' | 'shredded_at' | 'shreddedAt' | 'bucket'
> & { bucket: string | null; terms: string | null; messageDigest: string | null; due_at: number | null }

function writeStatements(db: Kysely<Tables>) {
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

function shredStatements(db: Kysely<Tables>) {
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
    .leftJoin('secret', 'secret.envelope', 'envelope.seq')
    .selectAll('envelope')
    .select('secret.sealed')
}

type EnvelopeRow = Omit<Tables['envelope'], 'seq'> & { sealed: Uint8Array | null }
type RecipientRow = Omit<Tables['recipient'], 'envelope' | 'doubt'> & Id & { org: string; doubt: number }
type CopyRow = Omit<Tables['copy'], 'envelope'> & Id

// What comes out of these tables was checked when it went in, so the brands may be put on again.
function toEnvelope(row: EnvelopeRow): Envelope {
  return {
    id: row.id as EnvelopeId,
    org: row.org as OrgId,
    kind: row.kind,
    sender: row.sender as Address | null,
    rule: row.rule,
    policyHash: row.policy_hash,
    terms: row.terms === null ? null : (JSON.parse(row.terms) as Terms),
    termsHash: row.terms_hash,
    expiresAt: row.expires_at,
    bucket: row.bucket,
    sealedSecret: row.shredded_at === null ? row.sealed : null,
    gateway: row.gateway,
    issuedAt: row.issued_at,
    confirmBy: row.confirm_by,
    confirmedAt: row.confirmed_at,
    revokedAt: row.revoked_at,
    shreddedAt: row.shredded_at,
  }
}

function toRecipient(row: RecipientRow): Recipient {
  const { lease_gateway: gateway, lease_instance: instance, lease_until: until } = row
  return {
    envelope: row.id as EnvelopeId,
    org: row.org as OrgId,
    address: row.address as Address,
    state: row.state,
    doubt: row.doubt === 1,
    lease: gateway === null || instance === null || until === null ? null : { gateway, instance, until },
  }
}

function toCopy(row: CopyRow): Copy {
  const { id, digest, sealed_size: sealedSize, plain_size: plainSize, gateway, at } = row
  return { envelope: id as EnvelopeId, digest, sealedSize, plainSize, gateway, at }
}

function mapFirst<R, T>(rows: readonly R[], map: (row: R) => T): T | null {
  const [row] = rows
  return row === undefined ? null : map(row)
}
