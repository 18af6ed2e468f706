import type { SignerKey } from '../audit/checkpoint.ts'
import type { CheckpointRow, Entry } from '../audit/writer.ts'
import type { Terms } from '../protocol/gateway-api.ts'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'

/**
 * What a work is to a disk that fills up. `ordinary` ones are refused before it is full. `upkeep` goes on as long as there is room: what was
 * begun is ended, what is to go goes. `urgent` is what must not wait, a revocation or a refusal: the reserve is given up for it.
 */
export type Urgency = 'ordinary' | 'upkeep' | 'urgent'

/**
 * Everything the key server remembers. Times are milliseconds since 1970 UTC and always given by the caller; octets are `Uint8Array`.
 *
 * `transact` runs its work in a transaction of its own making: works that arrive while a commit is under way share the next one (each
 * under a savepoint: one that throws undoes only itself). The promise settles when the commit is on disk. Inside a work, await
 * nothing but this `Tx`: fetch keys, persons and policies before it; a work may be run only once but must not have outside effects.
 * Throws `KeyServerError` `unavailable` where the database cannot be written (full, I/O error), or room is short; see {@link Urgency}.
 */
export interface Store {
  transact<T>(work: (tx: Tx) => Promise<T>, urgency?: Urgency): Promise<T>
  /** Throws `unavailable` while ordinary works are refused for want of room: for what is written beside the database before one. */
  requireRoom(): void
  /** Reads what is committed, apart from the writer. */
  read<T>(work: (reads: Reads) => Promise<T>): Promise<T>
  /** Signs and keeps a checkpoint of every log that has news. `keyOf` gives the key that signs for a log of this origin. */
  checkpoint(keyOf: (origin: string) => SignerKey): Promise<void>
  /**
   * Removes what was deleted or overwritten from the database's own journal files too; for after a shred. False if somebody else is
   * reading just now: try again.
   */
  scrub(): Promise<boolean>
  /** Throws if the database does not answer. */
  ping(): Promise<void>
  close(): Promise<void>
}

export type Tx = {
  readonly envelopes: Envelopes
  readonly holds: Holds
  readonly challenges: Challenges
  readonly sessions: Sessions
  readonly counters: Counters
  readonly policies: PolicyTexts
  readonly changes: ChangeFeed
  readonly people: People
  readonly meta: Meta
  readonly audit: AuditLog
}

export type Reads = {
  readonly envelopes: Pick<Envelopes, 'find' | 'recipient' | 'recipients' | 'copies' | 'copy'>
  readonly holds: Pick<Holds, 'find' | 'waiting'>
  readonly challenges: Pick<Challenges, 'find'>
  readonly sessions: Pick<Sessions, 'find'>
  readonly counters: Pick<Counters, 'count'>
  readonly policies: PolicyReads
  readonly changes: Pick<ChangeFeed, 'after'>
  readonly people: Pick<People, 'find'>
  readonly meta: Pick<Meta, 'get'>
}

export type Envelope = {
  readonly id: EnvelopeId
  readonly org: OrgId
  /** `hold` until it is let go; then it is `seal`. */
  readonly kind: 'seal' | 'pass' | 'refuse' | 'hold'
  /** The proven sender, null for `<>`. */
  readonly sender: Address | null
  readonly rule: string
  readonly policyHash: string
  /** Null except with `seal` and `hold`; so are the five below it. */
  readonly terms: Terms | null
  readonly termsHash: string | null
  /** With `hold`: when an officer must have decided. */
  readonly expiresAt: number | null
  /** The bucket whose key seals the secret. */
  readonly bucket: string | null
  /** Null once shredded. */
  readonly sealedSecret: Uint8Array | null
  readonly gateway: string
  readonly issuedAt: number
  /** Unconfirmed past this time it is dead. */
  readonly confirmBy: number
  readonly confirmedAt: number | null
  readonly revokedAt: number | null
  readonly shreddedAt: number | null
}

export type NewEnvelope = Omit<Envelope, 'confirmedAt' | 'revokedAt' | 'shreddedAt'> & {
  readonly messageDigest: string | null
  readonly recipients: readonly { readonly address: Address; readonly retryKey: string | null }[]
}

export type Lease = { readonly gateway: string; readonly instance: string; readonly until: number }

export type Recipient = {
  readonly envelope: EnvelopeId
  readonly org: OrgId
  readonly address: Address
  readonly state: 'open' | 'unknown' | 'sent' | 'failed'
  /** Whether some delivery to them ended without an answer: they may have the mail, whatever was said later. */
  readonly doubt: boolean
  /** Who is delivering to them now, or was. */
  readonly lease: Lease | null
}

export type Copy = {
  readonly envelope: EnvelopeId
  readonly digest: string
  readonly sealedSize: number
  readonly plainSize: number
  readonly gateway: string
  readonly at: number
}

export interface Envelopes {
  find(id: EnvelopeId): Promise<Envelope | null>
  add(envelope: NewEnvelope): Promise<void>
  /** Lets an unconfirmed envelope live until `confirmBy`. */
  prolong(id: EnvelopeId, confirmBy: number): Promise<void>
  recipient(id: EnvelopeId, address: Address): Promise<Recipient | null>
  recipients(id: EnvelopeId): Promise<readonly Recipient[]>
  /** The recipient's copy that a retry key of this organization stands for, if it is younger than `since`. */
  retried(org: OrgId, retryKey: string, since: number): Promise<Recipient | null>
  setRecipient(id: EnvelopeId, address: Address, state: Recipient['state'], lease: Lease | null): Promise<void>
  /** Notes that a delivery to them ended without an answer. For good. */
  doubt(id: EnvelopeId, address: Address): Promise<void>
  confirm(id: EnvelopeId, at: number): Promise<void>
  /** Adds a confirmed sealing; the same digest twice is one. */
  addCopy(copy: Copy): Promise<void>
  copy(id: EnvelopeId, digest: string): Promise<Copy | null>
  /** Newest first. */
  copies(id: EnvelopeId): Promise<readonly Copy[]>
  /** Marks a living envelope revoked. False if it was revoked before. */
  revoke(id: EnvelopeId, at: number): Promise<boolean>
  /** Makes an envelope that surely reached nobody due at once. */
  withdraw(id: EnvelopeId, at: number): Promise<void>
  /** Envelopes that hold a secret and have expired, were revoked or withdrawn, or died unconfirmed, oldest first. */
  doomed(now: number, limit: number): Promise<readonly Envelope[]>
  /** Destroys the secret. */
  shred(id: EnvelopeId, at: number): Promise<void>
  /** Envelopes whose secret lies under this bucket. */
  inBucket(org: OrgId, bucket: string, limit: number): Promise<readonly Envelope[]>
  reseal(id: EnvelopeId, bucket: string, sealedSecret: Uint8Array): Promise<void>
  /** Buckets that something was shredded from since they were made or rekeyed, while others in them live on. */
  stirred(): Promise<readonly { readonly org: OrgId; readonly bucket: string }[]>
  /** Notes that a bucket is final: no `stirred` any more. */
  settle(org: OrgId, bucket: string): Promise<void>
  /** Forgets retry keys older than `before`. */
  forgetRetries(before: number): Promise<void>
}

/** That an envelope was held, and what was decided. */
export type Hold = {
  readonly envelope: EnvelopeId
  readonly state: 'held' | 'let-go' | 'returned'
  readonly at: number
  /** When it goes back, if nobody has decided. */
  readonly until: number
  /** Null while nobody has; its officer is null where the time ran out. */
  readonly decided: { readonly at: number; readonly officer: string | null; readonly reason: string } | null
}

export interface Holds {
  find(id: EnvelopeId): Promise<Hold | null>
  /**
   * The envelope is held for these recipients from `at` on. Retry keys of its other recipients are forgotten: what is kept is not for them, and
   * their mail gets an envelope of its own.
   */
  add(id: EnvelopeId, at: number, until: number, recipients: readonly Address[]): Promise<void>
  /** Envelopes of an organization that live and nobody has decided on, oldest first. */
  waiting(org: OrgId, now: number, skip: number, limit: number): Promise<readonly Hold[]>
  /** Notes the decision on what is held. */
  decide(id: EnvelopeId, state: 'let-go' | 'returned', decided: NonNullable<Hold['decided']>): Promise<void>
  /** Makes a sealed envelope of a held one. */
  letGo(id: EnvelopeId, expiresAt: number, bucket: string, sealedSecret: Uint8Array): Promise<void>
}

/** A one-time code that was asked for. `id` is what the page holds; the code itself stands nowhere. */
export type Challenge = {
  readonly id: string
  readonly envelope: EnvelopeId
  readonly org: OrgId
  /** The address as typed, comparable form. */
  readonly address: Address
  /** Null where the address is nobody's here: such a challenge can never be answered, and looks the same. */
  readonly codeHash: Uint8Array | null
  /** RFC 7638 thumbprint of the asking browser's key. */
  readonly thumbprint: string
  readonly triesLeft: number
  readonly expiresAt: number
}

export interface Challenges {
  find(id: string): Promise<Challenge | null>
  add(challenge: Challenge): Promise<void>
  /** Takes one try; how many are left, null if there is no such challenge. Never below zero. */
  spend(id: string): Promise<number | null>
  remove(id: string): Promise<void>
  sweep(now: number): Promise<void>
}

export type Session = {
  /** SHA-256 of the token, base64url. */
  readonly id: string
  readonly org: OrgId
  readonly address: Address
  /** RFC 7638 thumbprint of the key it is bound to. */
  readonly thumbprint: string
  readonly createdAt: number
  readonly expiresAt: number
}

export interface Sessions {
  find(id: string): Promise<Session | null>
  add(session: Session): Promise<void>
  remove(id: string): Promise<void>
  sweep(now: number): Promise<void>
}

/** Counts per key, each good until a time of its own: limits that must outlive a restart. */
export interface Counters {
  /** What the counter says now, 0 where there is none or it has run out. */
  count(key: string, now: number): Promise<number>
  /** Adds and answers the new count; a counter that starts (again) runs out at `until`. */
  add(key: string, by: number, now: number, until: number): Promise<number>
  sweep(now: number): Promise<void>
}

export type PolicyText = {
  readonly org: OrgId
  readonly hash: string
  readonly text: string
  readonly activatedAt: number
}

export interface PolicyReads {
  /** The one in force, null while none ever was. */
  active(org: OrgId): Promise<PolicyText | null>
  byHash(org: OrgId, hash: string): Promise<PolicyText | null>
}

export interface PolicyTexts extends PolicyReads {
  activate(policy: PolicyText): Promise<void>
}

export type Change = {
  readonly cursor: number
  readonly id: EnvelopeId
  readonly kind: 'shredded' | 'revoked' | 'let-go' | 'returned'
}

export interface ChangeFeed {
  /** What happened to envelopes of which this gateway confirmed a copy, oldest first. */
  after(gateway: string, cursor: number, limit: number): Promise<readonly Change[]>
  add(id: EnvelopeId, kind: Change['kind'], at: number): Promise<void>
  /**
   * Cursors from now on are larger than this one. Said at each start, with the time in milliseconds: a database that was restored from an older copy
   * would else give again what gateways have passed already, and they would never hear of it.
   */
  beginAfter(cursor: number): Promise<void>
}

/** Which random name a person bears in an organization's log. */
export interface People {
  find(org: OrgId, address: Address): Promise<string | null>
  /** A new name takes the place of one whose key was destroyed. */
  set(org: OrgId, address: Address, pseudonym: string): Promise<void>
}

export interface Meta {
  get(name: MetaName): Promise<string | null>
  set(name: MetaName, value: string): Promise<void>
}

export type MetaName = 'kek' | 'highest-time' | 'rekeyed' | 'shredding'

/** Only the journal writes here. */
export interface AuditLog {
  /** Puts an entry at the end of a log when the work has succeeded; it gets its place then. */
  append(log: string, entry: Entry): void
  addCheckpoint(row: CheckpointRow, verifier: string): Promise<void>
}
