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
      await s.add(run, { ...rest, terms: terms === null ? null : JSON.stringify(terms), due_at })
      if (sealedSecret !== null) await s.addSecret(run, { envelope: envelope.id, sealed: sealedSecret })
      for (const { address, retryKey } of recipients) {
        await s.addRecipient(run, { envelope: envelope.id, address })
        if (retryKey === null) continue
        await s.keepRetry(run, { org: rest.org, key: retryKey, envelope: rest.id, address, at: rest.issuedAt })
      }
    },
    prolong: async (id, confirmBy) => void (await s.prolong(run, { id, confirmBy })),
    setRecipient: async (id, address, state, lease) => {
      const { gateway = null, instance = null, until = null } = lease ?? {}
      await s.setRecipient(run, { id, address, state, gateway, instance, until })
    },
    confirm: async (id, at) => void (await s.confirm(run, { id, at })),
    addCopy: async (copy) => void (await s.addCopy(run, copy)),
    revoke: async (id, at) => (await s.revoke(run, { id, at })).length > 0,
    doomed: async (now, limit) => (await s.doomed(run, { now, limit })).map(toEnvelope),
    shred: async (id, at) => {
      await s.blank(run, { id })
      await s.shred(run, { id, at })
      await s.stir(run, { id, at })
      await s.forgetRetriesOf(run, { id })
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

function readStatements(db: Kysely<Tables>) {
  const recipient = db.selectFrom('recipient')
  return {
    find: statement<Id, EnvelopeRow>((slot) => withSecret(db).where('envelope.id', '=', slot('id'))),
    recipient: statement<Id & { address: string }, RecipientRow>((slot) =>
      recipient.selectAll().where('envelope', '=', slot('id')).where('address', '=', slot('address')),
    ),
    recipients: statement<Id, RecipientRow>((slot) => recipient.selectAll().where('envelope', '=', slot('id'))),
    retried: statement<{ org: string; key: string; since: number }, RecipientRow>((slot) =>
      db
        .selectFrom('retry')
        .innerJoin('recipient', (join) =>
          join.onRef('recipient.envelope', '=', 'retry.envelope').onRef('recipient.address', '=', 'retry.address'),
        )
        .selectAll('recipient')
        .where('retry.org', '=', slot('org'))
        .where('retry.key', '=', slot('key'))
        .where('retry.at', '>', slot('since')),
    ),
    copy: statement<Id & { digest: string }, Tables['copy']>((slot) =>
      db.selectFrom('copy').selectAll().where('envelope', '=', slot('id')).where('digest', '=', slot('digest')),
    ),
    copies: statement<Id, Tables['copy']>((slot) =>
      db.selectFrom('copy').selectAll().where('envelope', '=', slot('id')).orderBy('at', 'desc').orderBy('digest'),
    ),
  }
}

type NewRow = Omit<
  Envelope,
  'terms' | 'sealedSecret' | 'confirmedAt' | 'revokedAt' | 'shredded_at' | 'shreddedAt' | 'bucket'
> & { bucket: string | null; terms: string | null; messageDigest: string | null; due_at: number | null }

function writeStatements(db: Kysely<Tables>) {
  return {
    add: statement<NewRow, unknown>((slot) =>
      db.insertInto('envelope').values({
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
    addSecret: statement<{ envelope: string; sealed: Uint8Array }, unknown>((slot) =>
      db.insertInto('secret').values({ envelope: slot('envelope'), sealed: slot('sealed') }),
    ),
    addRecipient: statement<{ envelope: string; address: string }, unknown>((slot) =>
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
        .where('envelope', '=', slot('id'))
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
          envelope: slot('envelope'),
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
    doomed: statement<{ now: number; limit: number }, EnvelopeRow>((slot) =>
      withSecret(db).where('due_at', '<=', slot('now')).orderBy('due_at').limit(slot('limit')),
    ),
    blank: statement<Id, unknown>((slot) =>
      db.updateTable('secret').set({ sealed: BLANK }).where('envelope', '=', slot('id')),
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
    forgetRetriesOf: statement<Id, unknown>((slot) => db.deleteFrom('retry').where('envelope', '=', slot('id'))),
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
        .where('envelope', '=', slot('id')),
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
    .leftJoin('secret', 'secret.envelope', 'envelope.id')
    .selectAll('envelope')
    .select('secret.sealed')
}

type EnvelopeRow = Tables['envelope'] & { sealed: Uint8Array | null }
type RecipientRow = Tables['recipient']

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
    envelope: row.envelope as EnvelopeId,
    address: row.address as Address,
    state: row.state,
    lease: gateway === null || instance === null || until === null ? null : { gateway, instance, until },
  }
}

function toCopy(row: Tables['copy']): Copy {
  const { envelope, digest, sealed_size: sealedSize, plain_size: plainSize, gateway, at } = row
  return { envelope: envelope as EnvelopeId, digest, sealedSize, plainSize, gateway, at }
}

function mapFirst<R, T>(rows: readonly R[], map: (row: R) => T): T | null {
  const [row] = rows
  return row === undefined ? null : map(row)
}
