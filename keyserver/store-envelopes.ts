import type { Kysely } from 'kysely'
import type { Terms } from '../protocol/gateway-api.ts'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import {
  type CopyRow,
  type EnvelopeRow,
  type RecipientRow,
  readStatements,
  shredStatements,
  writeStatements,
} from './envelope-statements.ts'
import type { Run } from './statement.ts'
import type { Copy, Envelope, Envelopes, Recipient } from './store.ts'
import type { Tables } from './tables.ts'

/** Gives envelopes, recipients, copies and retry keys on whatever connection or transaction is run. */
export function envelopeStatements(db: Kysely<Tables>): (run: Run) => Envelopes {
  const s = { ...readStatements(db), ...writeStatements(db), ...shredStatements(db) }
  return (run) => ({
    find: async (id) => mapFirst(await s.find(run, { id }), toEnvelope),
    recipient: async (id, address) => mapFirst(await s.recipient(run, { id, address }), toRecipient),
    recipients: async (id) => (await s.recipients(run, { id })).map(toRecipient),
    retried: async (org, key, since) => {
      const [known] = await s.retried(run, { org, key, since })
      return known === undefined ? null : mapFirst(await s.recipientOf(run, known), toRecipient)
    },
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
