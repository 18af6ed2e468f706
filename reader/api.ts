import type { CodeAnswer, SessionAnswer, TicketAnswer } from '../protocol/reader-api.ts'
import {
  type Answer,
  type Parse,
  parseCode,
  parseJwe,
  parseProblem,
  parseRevoked,
  parseSession,
  parseTicket,
} from './answer.ts'
import { toBase64url } from './base64url.ts'
import { createProof, type ProofKey } from './dpop.ts'
import type { AgreementKey } from './jwe.ts'

/** The key server's public listener, as `protocol/reader-api.ts` says it. No call throws. */
export type Api = {
  askCode(envelope: string, address: string): Promise<Answer<CodeAnswer>>
  answerCode(challenge: string, code: string): Promise<Answer<SessionAnswer>>
  ticket(token: string, envelope: string): Promise<Answer<TicketAnswer>>
  /** The compact JWE. */
  release(token: string, envelope: string, wrappedKey: Uint8Array, key: AgreementKey): Promise<Answer<string>>
  revoke(token: string, envelope: string): Promise<Answer<{ readonly revokedAt: string }>>
}

export type ApiParts = {
  /** Of the page itself, such as `https://open.acme.example`. */
  readonly origin: string
  readonly key: ProofKey
  readonly fetch: typeof fetch
}

const DEADLINE = 20_000

/** A client that proves its key with each call, and repeats a call once where the server wants another nonce (RFC 9449 section 8). */
export function createApi({ origin, key, fetch }: ApiParts): Api {
  let nonce: string | null = null

  async function post(path: string, body: Uint8Array<ArrayBuffer>, token: string | null) {
    const proof = await createProof(key, { url: origin + path, body, nonce, token })
    const headers: Record<string, string> = { 'Content-Type': 'application/json', DPoP: proof }
    if (token !== null) headers.Authorization = `DPoP ${token}`
    const response = await fetch(path, {
      method: 'POST',
      headers,
      body,
      credentials: 'omit',
      cache: 'no-store',
      signal: AbortSignal.timeout(DEADLINE),
    })
    nonce = response.headers.get('DPoP-Nonce') ?? nonce
    return { status: response.status, content: (await response.json()) as unknown, proof }
  }

  async function call<T>(path: string, request: object, token: string | null, parse: Parse<T>): Promise<Answer<T>> {
    const body = new TextEncoder().encode(JSON.stringify(request))
    try {
      for (let attempt = 0; ; attempt++) {
        const { status, content, proof } = await post(path, body, token)
        if (status < 300) {
          const value = parse(content)
          return value === null ? { kind: 'unreachable' } : { kind: 'ok', value, proof }
        }
        const problem = parseProblem(content)
        if (problem === null) return { kind: 'unreachable' }
        if (problem.code !== 'use-dpop-nonce' || attempt > 0) return { kind: 'problem', problem }
      }
    } catch {
      // Network, deadline or no JSON: for the person at the page it is one thing, and they may try again.
      return { kind: 'unreachable' }
    }
  }

  return {
    askCode: (envelope, address) => call('/v1/code', { envelope, address }, null, parseCode),
    answerCode: (challenge, code) => call('/v1/session', { challenge, code }, null, parseSession),
    ticket: (token, envelope) => call('/v1/ticket', { envelope }, token, parseTicket),
    release: (token, envelope, wrappedKey, { publicKey }) => {
      const request = { envelope, wrappedKey: toBase64url(wrappedKey), key: publicKey }
      return call('/v1/release', request, token, parseJwe)
    },
    revoke: (token, envelope) => call('/v1/revoke', { envelope }, token, parseRevoked),
  }
}
