import type { CodeAnswer, Release, ReleaseAnswer, SessionAnswer, TicketAnswer } from '../protocol/reader-api.ts'
import { createProver, type Prover, utf8 } from './dpop.ts'
import { createAgreement, partyOf } from './jwe.ts'

/** A refusal of the key server, as its problem document says it (protocol/problem.ts). */
export class Refused extends Error {
  readonly code: string
  readonly triesLeft: number | null
  /** When it expired or was revoked, RFC 3339, or null. */
  readonly at: string | null
  /** How long to wait, or null. */
  readonly retryAfterSeconds: number | null

  constructor(
    problem: { code?: unknown; detail?: unknown; triesLeft?: unknown; at?: unknown },
    retryAfter: string | null,
  ) {
    super(typeof problem.detail === 'string' ? problem.detail : 'The key server refused.')
    this.name = 'Refused'
    this.code = typeof problem.code === 'string' ? problem.code : 'unavailable'
    this.triesLeft = typeof problem.triesLeft === 'number' ? problem.triesLeft : null
    this.at = typeof problem.at === 'string' ? problem.at : null
    this.retryAfterSeconds = retryAfter === null ? null : Number(retryAfter)
  }
}

/** A browser's side of the life of an open: one key, and once the code was answered, one session. Every refusal is thrown as {@link Refused}. */
export type Session = {
  askCode(envelope: string, address: string): Promise<CodeAnswer>
  /** Answers the code of `challenge`; what follows is asked with the session. */
  answerCode(challenge: string, code: string): Promise<SessionAnswer>
  ticket(envelope: string): Promise<TicketAnswer>
  /** `wrappedKey` is the ciphertext of the one encrypted data key in the envelope's header, base64url, 80 characters. */
  release(envelope: string, wrappedKey: string): Promise<Release>
  revoke(envelope: string): Promise<{ id: string; revokedAt: string }>
}

export type SessionParts = {
  /** The key server's public origin, such as `https://open.acme.example`; proofs are made for it. */
  readonly origin: string
  readonly fetch: typeof globalThis.fetch
}

type Sent = { readonly answer: unknown; readonly proof: string }

/** A session with a new key. It makes no request until asked. */
export async function createSession({ origin, fetch }: SessionParts): Promise<Session> {
  const prover: Prover = await createProver()
  let nonce = ''
  let token: string | null = null

  async function post(path: string, request: object, withToken: string | null): Promise<Sent> {
    const body = utf8(JSON.stringify(request))
    for (let attempt = 1; ; attempt++) {
      const proof = await prover.prove({ method: 'POST', url: `${origin}${path}`, nonce, body, token: withToken })
      const headers: Record<string, string> = { 'content-type': 'application/json', dpop: proof }
      if (withToken !== null) headers.authorization = `DPoP ${withToken}`
      const response = await fetch(`${origin}${path}`, { method: 'POST', headers, body, redirect: 'error' })
      nonce = response.headers.get('dpop-nonce') ?? nonce
      const answer: unknown = await response.json()
      if (response.ok) return { answer, proof }
      const refusal = new Refused(answer as object, response.headers.get('retry-after'))
      // A nonce lives for minutes: the second attempt has a fresh one, a third would only loop.
      if (refusal.code !== 'use-dpop-nonce' || attempt === 2) throw refusal
    }
  }

  return {
    async askCode(envelope, address) {
      return (await post('/v1/code', { envelope, address }, null)).answer as CodeAnswer
    },
    async answerCode(challenge, code) {
      const session = (await post('/v1/session', { challenge, code }, null)).answer as SessionAnswer
      token = session.token
      return session
    },
    async ticket(envelope) {
      return (await post('/v1/ticket', { envelope }, token)).answer as TicketAnswer
    },
    async release(envelope, wrappedKey) {
      const agreement = await createAgreement()
      const { answer, proof } = await post('/v1/release', { envelope, wrappedKey, key: agreement.publicKey }, token)
      const apv = await partyOf(envelope, proof)
      const plaintext = await agreement.decrypt((answer as ReleaseAnswer).jwe, apv)
      return JSON.parse(new TextDecoder().decode(plaintext)) as Release
    },
    async revoke(envelope) {
      return (await post('/v1/revoke', { envelope }, token)).answer as { id: string; revokedAt: string }
    },
  }
}
