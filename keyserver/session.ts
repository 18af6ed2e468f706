import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { SessionAnswer, SessionRequest } from '../protocol/reader-api.ts'
import { browserOf, tokenHash } from './browser.ts'
import { answers } from './code.ts'
import { inTime } from './deadline.ts'
import { type Door, recordHead, rfc3339, trustedTime } from './door.ts'
import { KeyServerError } from './error.ts'
import type { Persons } from './journal.ts'
import { failures } from './schemas.ts'
import type { Challenge, Session, Tx } from './store.ts'

/** POST /v1/session. */
export function addSessionRoute(app: FastifyInstance, door: Door): void {
  const schema = {
    summary: 'Answer a one-time code',
    description: 'The token is bound to the key of the proof, to the address that was proven, and to the organization.',
    body: SessionRequest,
    response: { 201: SessionAnswer, ...failures },
  }
  app.post<{ Body: SessionRequest }>('/v1/session', { schema, config: { auth: 'proof' } }, async (request, reply) => {
    const answer = await inTime(prove(door, request, request.body))
    return reply.code(201).send(answer)
  })
}

type Answered =
  | { readonly kind: 'proven'; readonly session: Session }
  | { readonly kind: 'wrong'; readonly triesLeft: number }
  | { readonly kind: 'late' }
  | { readonly kind: 'spent' }

async function prove(door: Door, request: FastifyRequest, answer: SessionRequest): Promise<SessionAnswer> {
  const { store, journal, strangers, clock } = door
  const { thumbprint, network } = browserOf(request)
  const now = trustedTime(clock)
  const challenge = await store.read((reads) => reads.challenges.find(answer.challenge))
  // One answer for a challenge that is not there, is over, or is another browser's.
  if (challenge === null || challenge.thumbprint !== thumbprint || challenge.expiresAt <= now) throw late()
  const right = answers(door.keyring.derive('sealpost/codes/v1'), challenge, thumbprint, answer.code)
  const persons = right ? await journal.persons(challenge.org, [challenge.address]) : null
  const token = randomBytes(32).toString('base64url')
  const answered = await store.transact((tx) => settle(door, tx, request, { challenge, persons, token, now }))
  if (answered.kind === 'proven') {
    const { address, org, expiresAt } = answered.session
    return { token, address, org, expiresAt: rfc3339(expiresAt) }
  }
  const reason = answered.kind === 'wrong' ? 'wrong-code' : 'too-many'
  strangers.count('server', network, reason)
  noteRefusal(door, request, challenge, reason)
  if (answered.kind === 'late') throw late()
  if (answered.kind === 'wrong') throw wrong(answered.triesLeft)
  const detail = 'There were too many wrong codes for this address today. Please try again tomorrow.'
  throw new KeyServerError('too-many', { detail, retryAfter: 86_400 })
}

type Answering = {
  readonly challenge: Challenge
  /** Null where the code is wrong. */
  readonly persons: Persons | null
  readonly token: string
  readonly now: number
}

/** Spends a try, whatever comes out, and where the code is right makes the session and its record in the same transaction. */
async function settle(door: Door, tx: Tx, request: FastifyRequest, answering: Answering): Promise<Answered> {
  const { limits, journal, clock, config } = door
  const { challenge, persons, token, now } = answering
  const { id, org, address, envelope, thumbprint } = challenge
  if (await limits.answersSpent(tx.counters, address, now)) return { kind: 'spent' }
  const current = await tx.challenges.find(id)
  if (current === null || current.triesLeft < 1) return { kind: 'late' }
  const triesLeft = (await tx.challenges.spend(id)) ?? 0
  if (persons === null) {
    await limits.wrongAnswer(tx.counters, address, now)
    return { kind: 'wrong', triesLeft }
  }
  await tx.challenges.remove(id)
  const expiresAt = now + config.limits.sessionHours * 3_600_000
  const session = { id: tokenHash(token), org, address, thumbprint, createdAt: now, expiresAt }
  await tx.sessions.add(session)
  const { ip } = browserOf(request)
  journal.append(tx, org, persons, (name) => ({
    kind: 'session',
    ...recordHead(clock, request),
    envelope,
    person: name.person(address),
    network: name.value(address, ip),
    proof: 'code',
    key: thumbprint,
  }))
  return { kind: 'proven', session }
}

/** Where the address is a person's, its log says that somebody answered wrongly; written later, so that no answer's time tells. */
function noteRefusal(door: Door, request: FastifyRequest, challenge: Challenge, reason: string): void {
  const { store, journal, clock, aftermath } = door
  const { org, address, envelope } = challenge
  if (challenge.codeHash === null) return
  const { ip } = browserOf(request)
  aftermath.later(async () => {
    const persons = await journal.persons(org, [address])
    await store.transact(async (tx) =>
      journal.append(tx, org, persons, (name) => ({
        kind: 'code-refused',
        ...recordHead(clock, request),
        envelope,
        person: name.person(address),
        network: name.value(address, ip),
        reason,
      })),
    )
  })
}

function late(): KeyServerError {
  return new KeyServerError('code-expired')
}

function wrong(triesLeft: number): KeyServerError {
  const advice = triesLeft === 0 ? 'Please ask for a new one.' : 'Please look at the newest mail again.'
  return new KeyServerError('wrong-code', { detail: `The code is not right. ${advice}`, triesLeft })
}
