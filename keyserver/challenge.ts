import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { OrgId } from '../protocol/identifiers.ts'
import { parseAddress } from '../protocol/identifiers.ts'
import { CodeAnswer, CodeRequest } from '../protocol/reader-api.ts'
import { browserOf } from './browser.ts'
import { CODE_LIFE_MS, CODE_TRIES, codeHash, newChallengeId, newCode } from './code.ts'
import { composeCodeMail } from './code-mail.ts'
import { inTime } from './deadline.ts'
import { type Door, recordHead, rfc3339, trustedTime } from './door.ts'
import { KeyServerError } from './error.ts'
import { failures } from './schemas.ts'
import { type Standing, standingOf } from './standing.ts'
import type { Challenge } from './store.ts'

/** Stands for the organization of an envelope that is not there. No organization can bear it. */
const NOWHERE = 'nowhere.invalid' as OrgId

/** POST /v1/code. */
export function addChallengeRoute(app: FastifyInstance, door: Door): void {
  const schema = {
    summary: 'Ask for a one-time code',
    description: 'Answers the same, in words and time, whether or not the address is a recipient.',
    body: CodeRequest,
    response: { 202: CodeAnswer, ...failures },
  }
  app.post<{ Body: CodeRequest }>('/v1/code', { schema, config: { auth: 'proof' } }, async (request, reply) => {
    const answer = await inTime(ask(door, request, request.body))
    return reply.code(202).send(answer)
  })
}

/**
 * Makes a challenge, with the same work for everybody: a recipient's holds the hash of a code, a stranger's nothing. The mail is composed and
 * sent when the answer has left; how that goes shows in no answer.
 */
async function ask(door: Door, request: FastifyRequest, asked: CodeRequest): Promise<CodeAnswer> {
  const { store, limits, keyring, clock, strangers } = door
  const { thumbprint, network } = browserOf(request)
  const address = parseAddress(asked.address)
  if (address === null) throw new KeyServerError('bad-request', { detail: 'That is not a mail address.' })
  const now = trustedTime(clock)
  const standing = await store.read((reads) => standingOf(reads, asked.envelope, address, null))
  const code = newCode()
  const id = newChallengeId()
  const hash = codeHash(keyring.derive('sealpost/codes/v1'), id, thumbprint, code)
  const org = standing?.envelope.org ?? NOWHERE
  const challenge: Challenge = {
    id,
    envelope: asked.envelope,
    org,
    address,
    codeHash: standing === null ? null : hash,
    thumbprint,
    triesLeft: CODE_TRIES,
    expiresAt: now + CODE_LIFE_MS,
  }
  const wait = await store.transact(async (tx) => {
    const asking = { address, network, thumbprint, envelope: asked.envelope }
    const seconds = await limits.askCode(tx.counters, asking, now)
    if (seconds === 0) await tx.challenges.add(challenge)
    return seconds
  })
  if (wait > 0) {
    strangers.count('server', network, 'too-many')
    const pause = wait > 60 ? 'an hour' : 'half a minute'
    const detail = `A code was asked for too often. Please use the last one you got, or wait ${pause} before you ask again.`
    throw new KeyServerError('too-many', { detail, retryAfter: wait })
  }
  if (standing === null) strangers.count('server', network, 'not-for-you')
  else mailLater(door, request, { standing, challenge, code })
  return { challenge: id, expiresAt: rfc3339(challenge.expiresAt), tries: CODE_TRIES }
}

type Due = { readonly standing: Standing; readonly challenge: Challenge; readonly code: string }

/** Records the code, and only then mails it. */
function mailLater(door: Door, request: FastifyRequest, { standing, challenge, code }: Due): void {
  const { store, journal, keyring, clock, config, mailer, metrics, aftermath } = door
  const { ip } = browserOf(request)
  const deadline = performance.now() + CODE_LIFE_MS
  const { envelope, org, address } = challenge
  const taken = aftermath.later(async () => {
    const organization = config.organizations[org]
    if (organization === undefined) throw new Error(`organization ${org} is not configured any more`)
    const persons = await journal.persons(org, [address])
    await store.transact(async (tx) =>
      journal.append(tx, org, persons, (name) => ({
        kind: 'code-sent',
        ...recordHead(clock, request),
        envelope,
        person: name.person(address),
        network: name.value(address, ip),
      })),
    )
    const { sender } = standing.envelope
    const mail = { org, from: organization.from, to: address, sender, code, now: clock.now() }
    mailer.enqueue(composeCodeMail(mail, keyring.signer), deadline)
  })
  if (!taken) metrics.count('sealpost_codes_total', { result: 'full' })
}
