import { identifyOctets } from '../envelope/reader.ts'
import type { Problem } from '../protocol/problem.ts'
import type { CodeAnswer, Release, SessionAnswer, TicketAnswer } from '../protocol/reader-api.ts'
import { type Answer, parseRelease } from '../reader/answer.ts'
import { createApi } from '../reader/api.ts'
import { fetchCopy } from '../reader/copy.ts'
import { createProofKey } from '../reader/dpop.ts'
import { createAgreementKey, openJwe } from '../reader/jwe.ts'
import { type Opened, openSealed } from '../reader/opening.ts'

/** A refusal of the key server, or (`code` is `unreachable`) that there was no answer that could be understood. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly code: Problem['code'] | 'unreachable'
  readonly problem: Problem | null

  constructor(problem: Problem | null) {
    super(problem === null ? 'no answer' : `${problem.code}: ${problem.detail ?? problem.title}`)
    this.code = problem?.code ?? 'unreachable'
    this.problem = problem
  }
}

/** A recipient without a browser: one key, and once a code was answered, one session. Every refusal is thrown as {@link Refused}. */
export type Recipient = {
  askCode(envelope: string, address: string): Promise<CodeAnswer>
  /** Answers the last code that was asked for; what follows is asked with the session. */
  answer(code: string): Promise<SessionAnswer>
  ticket(envelope: string): Promise<TicketAnswer>
  /** The sealed copy, by a ticket. Throws if no store has it. */
  fetchCopy(envelope: string): Promise<Uint8Array<ArrayBuffer>>
  /** The release for a sealed copy, of which the header's octets suffice. */
  release(sealed: Uint8Array): Promise<Release>
  /** The same, for those who know id and wrapped key (60 octets). */
  releaseKey(envelope: string, wrappedKey: Uint8Array): Promise<Release>
  /** Opens a sealed copy with all the checks of the page. Throws {@link Refused}, or says what does not fit. */
  open(envelope: string, sealed: Uint8Array<ArrayBuffer>): Promise<Opened>
  /** When the envelope was revoked; for its sender. */
  revoke(envelope: string): Promise<string>
}

export type RecipientParts = {
  /** The key server's public origin, as it is configured there: proofs are made for it. */
  readonly origin: string
  /** Gets whole addresses. */
  readonly fetch: typeof globalThis.fetch
}

/** Plays the recipient through the public API, with the page's own code. */
export async function createRecipient({ origin, fetch }: RecipientParts): Promise<Recipient> {
  const whole: typeof fetch = (path, init) => fetch(new URL(String(path), origin), init)
  const api = createApi({ origin, key: await createProofKey(), fetch: whole })
  let challenge = ''
  let token = ''

  async function releaseKey(envelope: string, wrappedKey: Uint8Array): Promise<Release> {
    const key = await createAgreementKey()
    const answer = await api.release(token, envelope, wrappedKey, key)
    const jwe = take(answer)
    const proof = answer.kind === 'ok' ? answer.proof : ''
    const release = parseRelease(await openJwe(jwe, key, { envelope, proof }))
    if (release === null) throw new Error('the release is not what was asked for')
    return release
  }
  const ticket = async (envelope: string) => take(await api.ticket(token, envelope))

  return {
    async askCode(envelope, address) {
      const answer = take(await api.askCode(envelope, address))
      challenge = answer.challenge
      return answer
    },
    async answer(code) {
      const session = take(await api.answerCode(challenge, code))
      token = session.token
      return session
    },
    ticket,
    async fetchCopy(envelope) {
      const given = await ticket(envelope)
      const fetched = await fetchCopy(given.urls, given.ticket, { fetch, onProgress: () => {} })
      if (fetched.kind === 'copy') return fetched.octets
      throw new Error(`the sealed copy is ${fetched.kind}`)
    },
    release(sealed) {
      const { context, wrappedKey } = identifyOctets(sealed)
      return releaseKey(context.envelope, wrappedKey)
    },
    releaseKey,
    async open(envelope, sealed) {
      const opened = await openSealed(sealed, envelope, { api, fetch, token, onStage: () => {}, onProgress: () => {} })
      if (opened.kind === 'opened') return opened
      const { refusal } = opened
      if (refusal.kind === 'problem') throw new Refused(refusal.problem)
      throw new Error(`not opened: ${refusal.kind}${'what' in refusal ? ` (${refusal.what})` : ''}`)
    },
    async revoke(envelope) {
      return take(await api.revoke(token, envelope)).revokedAt
    },
  }
}

function take<T>(answer: Answer<T>): T {
  if (answer.kind === 'ok') return answer.value
  throw new Refused(answer.kind === 'problem' ? answer.problem : null)
}
