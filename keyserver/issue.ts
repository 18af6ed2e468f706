import { createHash, randomBytes } from 'node:crypto'
import { canonicalText } from '../audit/canonical.ts'
import type { IssueRequest, IssueResult, Terms } from '../protocol/gateway-api.ts'
import { type Address, domainOf, type EnvelopeId, type OrgId, parseAddress } from '../protocol/identifiers.ts'
import { KeyServerError } from './error.ts'
import { present, type Settled } from './issued.ts'
import type { Persons } from './journal.ts'
import { type Bucket, sealSecret } from './keyring.ts'
import type { Parts } from './parts.ts'
import { type Refused, refused } from './refused.ts'
import { type Attempt, CONFIRM_WITHIN, judgeRetry, RETRY_MEMORY } from './retry.ts'
import type { Envelope, NewEnvelope, Tx } from './store.ts'

type Caller = Attempt & { readonly organizations: ReadonlySet<OrgId>; readonly requestId: string }

type Ask = {
  readonly request: IssueRequest
  readonly sender: Address | null
  readonly recipients: NewEnvelope['recipients']
}

/** SHA-256 of what was promised at issue: decision and terms, as the envelope's header and every wrapped key are bound to it. */
export function termsHash(policyHash: string, terms: Terms): string {
  return createHash('sha256')
    .update(`sealpost/terms/v1\n${canonicalText({ policyHash, terms })}`)
    .digest('base64url')
}

/**
 * Issues one item: settles in one transaction which envelopes its recipients belong to, with its record; then, that being on disk, makes the
 * data keys. Expected refusals are values; throws only what the whole call must answer for (database, keys).
 */
export async function issue(parts: Parts, caller: Caller, request: IssueRequest): Promise<IssueResult> {
  const now = parts.clock.now()
  const ask = examine(parts, caller, request)
  if (ask.kind === 'refused') {
    await recordRefusal(parts, caller, request, ask, now)
    return ask
  }
  const { sender, recipients } = ask
  const people = [...(sender === null ? [] : [sender]), ...recipients.map(({ address }) => address)]
  const persons = await parts.journal.persons(request.org, people)
  // A bucket that is rekeyed between here and the transaction must take nothing more: then once more with its successor.
  for (let tries = 0; ; tries++) {
    const bucket = await bucketFor(parts, request, now)
    const settled = await parts.store.transact(async (tx) => {
      if (bucket !== null && parts.keyring.isRetired(request.org, bucket.id)) return 'retired'
      return await settle(parts, tx, caller, ask, { bucket, persons, now })
    })
    if (settled === 'retired') {
      if (tries < 3) continue
      throw new KeyServerError('unavailable', { detail: 'Keys are being changed just now. Try again.' })
    }
    if ('kind' in settled) return settled
    parts.metrics.count('sealpost_issued_total', { verdict: request.verdict })
    return { kind: 'issued', envelopes: await Promise.all(settled.map((one) => present(parts, one))) }
  }
}

function examine(parts: Parts, caller: Caller, request: IssueRequest): (Ask & { readonly kind: 'ask' }) | Refused {
  if (!caller.organizations.has(request.org)) {
    return refused('not-authorised', `This gateway may not issue for ${request.org}.`)
  }
  const policy = parts.policies.active(request.org)
  if (policy === null || policy.hash !== request.policyHash) {
    return refused('policy-not-active', 'Fetch the policy in force and decide again.')
  }
  if (isSealed(request.verdict) !== (request.terms !== undefined)) {
    return refused('bad-request', 'Terms go with the verdicts seal and hold, and only with them.')
  }
  if ((request.verdict === 'hold') !== (request.holdSeconds !== undefined)) {
    return refused('bad-request', 'A time to decide goes with the verdict hold, and only with it.')
  }
  if (request.terms !== undefined && request.terms.ttlSeconds > policy.capSeconds) {
    return refused('bad-request', `The time to live is above the organization's cap of ${policy.capSeconds} s.`)
  }
  const sender = request.sender === null ? null : parseAddress(request.sender)
  const seen = new Set<Address>()
  const recipients: { address: Address; retryKey: string | null }[] = []
  for (const { address: text, retryKey } of request.recipients) {
    const address = parseAddress(text)
    if (address === null) return refused('bad-request', 'A recipient is not an address.')
    if (!seen.has(address)) recipients.push({ address, retryKey })
    seen.add(address)
  }
  if (request.sender !== null && sender === null) return refused('bad-request', 'The sender is not an address.')
  // Readers are told that the organization vouches for this address.
  if (sender !== null && !policy.domains.includes(domainOf(sender))) {
    return refused('bad-request', "The sender is not in the organization's domains.")
  }
  return { kind: 'ask', request, sender, recipients }
}

function isSealed(verdict: IssueRequest['verdict']): boolean {
  return verdict === 'seal' || verdict === 'hold'
}

/** What is held ends when nobody has decided in time; its time to live begins when it is let go. */
function endOf({ terms, holdSeconds }: IssueRequest, now: number): number | null {
  return terms === undefined ? null : now + (holdSeconds ?? terms.ttlSeconds) * 1000
}

async function bucketFor(parts: Parts, request: IssueRequest, now: number): Promise<Bucket | null> {
  const end = endOf(request, now)
  return end === null ? null : await parts.keyring.currentBucket(request.org, end)
}

type Means = { readonly bucket: Bucket | null; readonly persons: Persons; readonly now: number }

async function settle(
  parts: Parts,
  tx: Tx,
  caller: Caller,
  ask: Ask,
  means: Means,
): Promise<readonly Settled[] | Refused> {
  const { request } = ask
  const fresh: NewEnvelope['recipients'][number][] = []
  const old = new Map<EnvelopeId, { envelope: Envelope; recipients: Settled['recipients'][number][] }>()
  for (const recipient of ask.recipients) {
    const found = await lookUp(tx, request, recipient.retryKey, means.now)
    const verdict = judgeRetry(found, request.verdict, caller, means.now, parts.clock.leases())
    if (verdict.kind === 'revoked') return refused('revoked', 'The message was revoked while it was being delivered.')
    if (verdict.kind === 'new' || found === null) {
      fresh.push(recipient)
      continue
    }
    const state = verdict.kind === 'busy' || verdict.kind === 'held' ? verdict.kind : verdict.state
    const group = old.get(found.envelope.id) ?? { envelope: found.envelope, recipients: [] }
    group.recipients.push({ address: found.recipient.address, state })
    old.set(found.envelope.id, group)
  }
  const settled: Settled[] = []
  for (const { envelope, recipients } of old.values()) {
    const open = recipients.filter(({ state }) => state === 'open' || state === 'unknown')
    settled.push({ envelope, secret: null, recipients, send: open.length > 0 })
    if (open.length === 0) continue
    await tx.envelopes.prolong(envelope.id, means.now + CONFIRM_WITHIN)
    record(
      parts,
      tx,
      caller,
      ask,
      means,
      envelope,
      open.map(({ address }) => address),
    )
  }
  if (fresh.length > 0) settled.push(await add(parts, tx, caller, ask, means, fresh))
  return settled
}

async function lookUp(tx: Tx, request: IssueRequest, retryKey: string | null, now: number) {
  if (retryKey === null || request.verdict === 'refuse') return null
  const recipient = await tx.envelopes.retried(request.org, retryKey, now - RETRY_MEMORY)
  const envelope = recipient === null ? null : await tx.envelopes.find(recipient.envelope)
  if (recipient === null || envelope === null) return null
  const mayBeLetGo = envelope.kind === 'seal' && request.verdict !== 'seal'
  return { recipient, envelope, letGo: mayBeLetGo && (await tx.holds.find(envelope.id)) !== null }
}

async function add(
  parts: Parts,
  tx: Tx,
  caller: Caller,
  ask: Ask,
  means: Means,
  recipients: NewEnvelope['recipients'],
): Promise<Settled> {
  const { request } = ask
  const { bucket, now } = means
  const id = randomBytes(16).toString('base64url') as EnvelopeId
  const secret = bucket === null ? null : randomBytes(32)
  const terms = request.terms ?? null
  const context = { org: request.org, envelope: id }
  const envelope: NewEnvelope = {
    id,
    org: request.org,
    kind: request.verdict,
    sender: ask.sender,
    rule: request.rule,
    policyHash: request.policyHash,
    terms,
    termsHash: terms === null ? null : termsHash(request.policyHash, terms),
    expiresAt: endOf(request, now),
    bucket: bucket?.id ?? null,
    sealedSecret:
      bucket === null || secret === null ? null : sealSecret(bucket.key, secret, { ...context, bucket: bucket.id }),
    gateway: caller.gateway,
    issuedAt: now,
    confirmBy: now + CONFIRM_WITHIN,
    messageDigest: request.messageDigest,
    // What is refused leaves nothing to try again.
    recipients:
      request.verdict === 'refuse' ? recipients.map(({ address }) => ({ address, retryKey: null })) : recipients,
  }
  await tx.envelopes.add(envelope)
  const made: Envelope = { ...envelope, confirmedAt: null, revokedAt: null, shreddedAt: null }
  record(
    parts,
    tx,
    caller,
    ask,
    means,
    made,
    recipients.map(({ address }) => address),
  )
  const state = request.verdict === 'refuse' ? 'failed' : 'open'
  return {
    envelope: made,
    secret,
    send: isSealed(request.verdict),
    recipients: recipients.map(({ address }) => ({ address, state })),
  }
}

const recordKinds = { seal: 'issued', hold: 'issued', pass: 'passed', refuse: 'refused-mail' } as const

function record(
  { journal }: Parts,
  tx: Tx,
  caller: Caller,
  { request, sender }: Ask,
  { persons, now }: Means,
  envelope: Envelope,
  addresses: readonly Address[],
): void {
  journal.append(tx, request.org, persons, (name) => {
    const judged = {
      time: new Date(now).toISOString(),
      request: caller.requestId,
      envelope: envelope.id,
      gateway: caller.gateway,
      rule: request.rule,
      policyHash: envelope.policyHash,
      sender: sender === null ? null : name.person(sender),
      recipients: addresses.map((address) => name.person(address)),
      part: { number: 1, of: 1 },
      messageDigest: request.messageDigest,
    }
    const { terms, termsHash: hash, expiresAt } = envelope
    const kind = recordKinds[envelope.kind]
    if (kind !== 'issued' || terms === null || hash === null || expiresAt === null) {
      return { ...judged, kind: kind === 'refused-mail' ? kind : 'passed' }
    }
    return { ...judged, kind, termsHash: hash, terms, expiresAt: new Date(expiresAt).toISOString() }
  })
}

async function recordRefusal(
  parts: Parts,
  caller: Caller,
  request: IssueRequest,
  { code, detail }: Refused,
  now: number,
): Promise<void> {
  // A gateway that asks for an organization that is not its own writes nothing into that organization's log.
  const log = caller.organizations.has(request.org) ? request.org : 'server'
  await parts.store.transact(async (tx) => {
    parts.journal.append(tx, log, new Map(), () => ({
      kind: 'issue-refused',
      time: new Date(now).toISOString(),
      request: caller.requestId,
      gateway: caller.gateway,
      code,
      reason: detail,
    }))
  })
}
