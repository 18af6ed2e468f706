import type { FastifyInstance, FastifyRequest } from 'fastify'
import { domainOf } from '../protocol/identifiers.ts'
import { type Release, ReleaseAnswer, ReleaseRequest } from '../protocol/reader-api.ts'
import { decodeBase64url } from './base64url.ts'
import { type Browser, personOf } from './browser.ts'
import { inTime } from './deadline.ts'
import { decideRelease, type ReleaseDecision } from './decision.ts'
import { type Door, recordHead, rfc3339, trustedTime } from './door.ts'
import { KeyServerError } from './error.ts'
import type { Persons } from './journal.ts'
import { encryptFor, parsePageKey, partyOf } from './jwe.ts'
import type { LoadedPolicy } from './policies.ts'
import { failures } from './schemas.ts'
import { openSecret, unwrapDataKey } from './sealing.ts'
import { type SealedEnvelope, type Standing, standingOf } from './standing.ts'
import type { Copy, Reads, Session, Tx } from './store.ts'

/** POST /v1/release. */
export function addReleaseRoute(app: FastifyInstance, door: Door): void {
  const schema = {
    summary: 'Release the key of a message',
    description: 'Each decision is in the log, on disk, before it is told. See docs/flow.md, life of an open.',
    body: ReleaseRequest,
    response: { 200: ReleaseAnswer, ...failures },
  }
  app.post<{ Body: ReleaseRequest }>('/v1/release', { schema, config: { auth: 'session' } }, async (request) => {
    const start = performance.now()
    try {
      return await inTime(release(door, request, request.body))
    } finally {
      door.metrics.observe('sealpost_release_seconds', (performance.now() - start) / 1000)
    }
  })
}

type Asking = {
  readonly asked: ReleaseRequest
  readonly person: Browser & { readonly session: Session }
  /** In force when the request came; one decision has one policy. */
  readonly policy: LoadedPolicy | null
}
type Judged = { readonly standing: Standing; readonly decision: ReleaseDecision }

/** The order is the point: judge, record, and when the record is durable, let the key leave. */
async function release(door: Door, request: FastifyRequest, asked: ReleaseRequest): Promise<ReleaseAnswer> {
  const { store, journal, clock, strangers, metrics, policies } = door
  const person = personOf(request)
  const { org, address } = person.session
  const page = parsePageKey(asked.key)
  const wrapped = decodeBase64url(asked.wrappedKey)
  if (page === null) throw new KeyServerError('bad-request', { detail: 'The key is not a point of P-256.' })
  if (wrapped?.length !== 60) throw new KeyServerError('bad-request', { detail: 'The wrapped key has 60 octets.' })
  trustedTime(clock)
  const asking = { asked, person, policy: policies.active(org) }
  const first = await store.read((reads) => judge(door, reads, asking))
  if (first === null) {
    strangers.count(org, person.network, 'not-for-you')
    throw new KeyServerError('not-for-you')
  }
  const dataKey = first.decision.kind === 'release' ? await unwrap(door, first.standing.envelope, wrapped) : null
  const persons = await journal.persons(org, [address])
  const settled = await store.transact(
    async (tx) => {
      const judged = dataKey === null ? withoutKey(first) : ((await judge(door, tx, asking)) ?? first)
      await record(door, tx, request, { ...asking, judged, persons })
      return { ...judged, copies: await tx.envelopes.copies(asked.envelope) }
    },
    dataKey === null ? 'urgent' : 'ordinary',
  )
  const { decision, standing, copies } = settled
  if (decision.kind === 'refuse' || dataKey === null) throw refused(decision)
  metrics.count('sealpost_releases_total')
  const content = JSON.stringify(contentOf(standing, dataKey, copies))
  return { jwe: encryptFor(page, partyOf(asked.envelope, person.proof), Buffer.from(content)) }
}

/** Null for a stranger. Reads nothing but `reads`, so that it can run inside the transaction. */
async function judge(
  door: Door,
  reads: Pick<Reads, 'envelopes' | 'counters'>,
  { asked, person: { session, ip }, policy }: Asking,
): Promise<Judged | null> {
  const { clock, config, limits } = door
  const { org, address } = session
  const now = clock.now()
  const standing = await standingOf(reads, asked.envelope, address, org)
  if (standing === null) return null
  const internal = config.organizations[org]?.domains.includes(domainOf(address)) ?? false
  const opensLeft = await limits.opensLeft(reads.counters, session, now)
  const person = { address, internal }
  return { standing, decision: decideRelease({ standing, person, proof: 'code', ip, policy, opensLeft, now }) }
}

/** The data key; null if the wrapped key is not of this envelope. Throws `unavailable` while the envelope's bucket is being changed. */
async function unwrap({ keyring }: Door, envelope: SealedEnvelope, wrapped: Uint8Array): Promise<Uint8Array | null> {
  const { org, id, bucket, termsHash, sealedSecret } = envelope
  const kept = await keyring.bucket(org, bucket)
  if (kept === null || sealedSecret === null) throw new KeyServerError('unavailable')
  const secret = openSecret(kept.key, sealedSecret, { org, envelope: id, bucket })
  if (secret === null) throw new Error(`the sealed secret of envelope ${id} does not open`)
  return unwrapDataKey(secret, wrapped, { org, envelope: id, termsHash })
}

/** What is left of a first judgement where there is no key to give: its refusal, or that the file is not the one that was sent. */
function withoutKey({ standing, decision }: Judged): Judged {
  if (decision.kind === 'refuse') return { standing, decision }
  const detail =
    'The file was altered, or is not of this message. Please use the link of the mail, or its attachment as it came.'
  return { standing, decision: { kind: 'refuse', code: 'bad-request', detail, rule: null, at: null } }
}

type Recorded = Asking & { readonly judged: Judged; readonly persons: Persons }

/** Writes the decision, and counts an open. */
async function record(door: Door, tx: Tx, request: FastifyRequest, recorded: Recorded): Promise<void> {
  const { journal, limits, clock } = door
  const { asked, person, policy, persons, judged } = recorded
  const { session, ip } = person
  const { org, address } = session
  const { decision, standing } = judged
  const policyHash = policy?.hash ?? null
  if (decision.kind === 'release') await limits.open(tx.counters, session, clock.now())
  journal.append(tx, org, persons, (name) => {
    const who = { envelope: asked.envelope, person: name.person(address), network: name.value(address, ip), policyHash }
    const head = recordHead(clock, request)
    return decision.kind === 'release'
      ? { kind: 'released', ...head, ...who, role: standing.role, proof: 'code', rule: decision.rule }
      : { kind: 'release-refused', ...head, ...who, reason: decision.code, rule: decision.rule }
  })
}

function refused(decision: ReleaseDecision): KeyServerError {
  if (decision.kind === 'release') return new KeyServerError('internal')
  const { code, detail, rule, at } = decision
  return new KeyServerError(code, {
    detail,
    ...(rule === null ? {} : { rule }),
    ...(at === null ? {} : { at: rfc3339(at) }),
    ...(code === 'too-many' ? { retryAfter: 600 } : {}),
  })
}

function contentOf({ envelope, role }: Standing, dataKey: Uint8Array, copies: readonly Copy[]): Release {
  return {
    dataKey: Buffer.from(dataKey).toString('base64url'),
    org: envelope.org,
    termsHash: envelope.termsHash,
    sender: envelope.sender,
    issuedAt: rfc3339(envelope.issuedAt),
    expiresAt: rfc3339(envelope.expiresAt),
    role,
    copies: copies.map(({ digest, sealedSize, plainSize }) => ({ digest, sealedSize, plainSize })),
  }
}
