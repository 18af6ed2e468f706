import {
  count,
  hex256,
  id16,
  listOf,
  name,
  object,
  oneOf,
  orNull,
  person,
  type Shape,
  sha256,
  text,
  time,
  words,
} from './fields.ts'

/** Recipients of one record; a longer list is split into parts by the writer. */
export const MAX_RECIPIENTS = 500

const recipients = listOf(person, MAX_RECIPIENTS)
/** 1 of 1, unless the recipients filled more than one record. */
const part = object({ number: count, of: count })
/** A commitment to the client's network address; its clear value is sealed for the person beside whom it stands. */
const network = orNull(sha256)
const by = object({ role: oneOf('sender', 'officer', 'server'), person: orNull(person), name: orNull(name) })
const proof = oneOf('code')

/** Of mail that was judged: what the gateway said, under which rule and policy. */
const judged = {
  envelope: id16,
  gateway: name,
  rule: name,
  policyHash: hex256,
  sender: orNull(person),
  recipients,
  part,
  messageDigest: orNull(sha256),
} as const

/** What every log may hold, by kind: the fields beside `kind`, `time` and `request`. All required; null says "none". */
export const kinds = {
  /** An envelope id and a data key were made. */
  issued: { ...judged, termsHash: sha256, terms: object({ ttlSeconds: count, proof }), expiresAt: time },
  /** A message leaves unsealed, by this rule. */
  passed: judged,
  /** A message was refused by this rule; nothing leaves. */
  'refused-mail': judged,
  /** The key server refused a gateway (not its organization, policy not active …). */
  'issue-refused': { gateway: name, code: name, reason: words },
  /** The next delivery, before its first octet leaves. `copy` is null for mail that passes unsealed. */
  confirmed: {
    envelope: id16,
    gateway: name,
    instance: id16,
    recipients,
    part,
    copy: orNull(object({ digest: sha256, sealedSize: count, plainSize: count })),
  },
  /** A gateway keeps the sealed copy until an officer decides, at the latest at `until`; nobody can open it meanwhile. */
  held: {
    envelope: id16,
    gateway: name,
    instance: id16,
    recipients,
    part,
    copy: object({ digest: sha256, sealedSize: count, plainSize: count }),
    until: time,
  },
  /** What was held may be delivered, and opened until `expiresAt`. */
  'let-go': { envelope: id16, by, reason: words, expiresAt: time },
  /** What was held goes back to its sender, by an officer, or by the server where nobody decided in time. */
  returned: { envelope: id16, by, reason: words },
  /** An officer asked for what could not be done. */
  'hold-refused': { envelope: id16, by, asked: oneOf('release', 'return'), reason: words },
  'confirm-refused': { envelope: id16, gateway: name, code: name, reason: words },
  /** What the provider said of one recipient. `reply` is a commitment to its text, `status` its leading digits. */
  outcome: {
    envelope: id16,
    gateway: name,
    recipient: person,
    outcome: oneOf('sent', 'deferred', 'failed', 'unknown'),
    status: text(16),
    reply: sha256,
  },
  'code-sent': { envelope: id16, person, network },
  /** A code was not sent, or an answer to one was wrong, late or one too many. */
  'code-refused': { envelope: orNull(id16), person, network, reason: name },
  /** Someone proved an address. `key` is the thumbprint (RFC 7638) of the page's key. */
  session: { envelope: orNull(id16), person, network, proof, key: sha256 },
  ticket: { envelope: id16, person, network },
  'ticket-refused': { envelope: id16, person, network, reason: name },
  /** The data key left for this person's page. `policyHash` is null where no release rules were in force. */
  released: {
    envelope: id16,
    person,
    network,
    role: oneOf('recipient', 'sender'),
    proof,
    rule: name,
    policyHash: orNull(hex256),
  },
  /** A proven person did not get the key. `rule` is null where code above the policy refused. */
  'release-refused': { envelope: id16, person, network, reason: name, rule: orNull(name), policyHash: orNull(hex256) },
  revoked: { envelope: id16, by, reason: words },
  'revoke-refused': { envelope: id16, by, reason: words },
  /** A later end of life, by a person's act. */
  extended: { envelope: id16, by, reason: words, expiresAt: time },
  expired: { envelope: id16 },
  /** Surely never delivered, or never confirmed. */
  withdrawn: { envelope: id16, reason: name },
  /** The envelope's secret was destroyed. */
  shredded: { envelope: id16, cause: oneOf('expired', 'revoked', 'withdrawn', 'erased') },
  /** A bucket key was destroyed: what it sealed is gone from backups too. */
  'bucket-destroyed': { bucket: text(128), cause: oneOf('expired', 'rekeyed') },
  /** A person's key was destroyed: their clear values beside this log can no longer be read. */
  'person-erased': { pseudonym: id16, by, reason: words },
  'policy-activated': { policyHash: hex256, previous: orNull(hex256), by: name },
  'policy-rejected': { policyHash: hex256, active: orNull(hex256), faults: listOf(words, 32) },
  /** Counted refusals of people who are not known here. `minute` is its start. */
  strangers: { network: sha256, pseudonym: orNull(id16), minute: time, reason: name, count },
  'server-start': { version: name, instance: id16, config: sha256 },
  'server-stop': { instance: id16, reason: words },
  /** The clock left what was expected, or came back. After one, times may lie behind earlier ones. */
  clock: { state: oneOf('behind', 'jumped', 'gap', 'accepted', 'restored'), observed: time, highest: time },
  /** An act that needs no kind of its own: a changed configuration, a key made, a degraded state. */
  act: { by, act: name, detail: words },
  incident: { incident: id16, detail: words },
} as const

export type Kinds = typeof kinds
export type Kind = keyof Kinds

/** A record as its author writes it: `time` in ms UTC text, `request` the request or incident id or null, and the fields of its kind. */
export type RecordOf<K extends Kind> = {
  readonly kind: K
  readonly time: string
  readonly request: string | null
} & Shape<Kinds[K]>

/** Every record there can be: a closed union by `kind`. */
export type AuditRecord = { readonly [K in Kind]: RecordOf<K> }[Kind]

/** Whether `value` names a kind of record. */
export function isKind(value: unknown): value is Kind {
  return typeof value === 'string' && Object.hasOwn(kinds, value)
}
