import type { Generated } from 'kysely'

/**
 * The tables of the key server's database, as the migrations make them. Times are milliseconds since 1970 UTC.
 * Envelope ids are random, so rows by id would each lie on a page of their own, and a commit would write all of them: what belongs to an
 * envelope is keyed by its running number instead, and lies beside what was written a moment ago.
 */
export type Tables = {
  envelope: {
    seq: Generated<number>
    id: string
    org: string
    kind: 'seal' | 'pass' | 'refuse' | 'hold'
    sender: string | null
    rule: string
    policy_hash: string
    message_digest: string | null
    terms: string | null
    terms_hash: string | null
    expires_at: number | null
    bucket: string | null
    gateway: string
    issued_at: number
    confirm_by: number
    confirmed_at: number | null
    revoked_at: number | null
    shredded_at: number | null
    /** When its secret must go; null where there is none. */
    due_at: number | null
  }
  /**
   * Rows are only ever put at the end and overwritten in place by octets of the same length, never deleted: so no page of this table is
   * ever rebalanced, which would leave old octets in the unused part of a page, where secure_delete does not look.
   */
  secret: { envelope: number; sealed: Uint8Array }
  recipient: {
    envelope: number
    address: string
    state: 'open' | 'unknown' | 'sent' | 'failed'
    lease_gateway: string | null
    lease_instance: string | null
    lease_until: number | null
    /** 1 if some delivery ended without an answer: they may have the mail, whatever is said later. */
    doubt: Generated<number>
  }
  copy: { envelope: number; digest: string; sealed_size: number; plain_size: number; gateway: string; at: number }
  hold: {
    envelope: number
    state: 'held' | 'let-go' | 'returned'
    at: number
    until: number
    decided_at: number | null
    officer: string | null
    reason: string | null
  }
  retry: { org: string; key: string; envelope: number; address: string; at: number }
  change: {
    cursor: Generated<number>
    gateway: string
    envelope: string
    kind: 'shredded' | 'revoked' | 'let-go' | 'returned'
    at: number
  }
  stirred: { org: string; bucket: string }
  challenge: {
    id: string
    envelope: string
    org: string
    address: string
    code_hash: Uint8Array | null
    thumbprint: string
    tries_left: number
    expires_at: number
  }
  session: { id: string; org: string; address: string; thumbprint: string; created_at: number; expires_at: number }
  counter: { key: string; count: number; until: number }
  policy: { org: string; hash: string; text: string; activated_at: number }
  active_policy: { org: string; hash: string }
  person: { org: string; address: string; pseudonym: string }
  meta: { name: string; value: string }
  log_key: { log: string; verifier: string }
  log_leaf: { log: string; idx: number; hash: Uint8Array; record: Uint8Array; side: Uint8Array | null }
  log_checkpoint: { log: string; size: number; note: string; frontier: Uint8Array }
}
