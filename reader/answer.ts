import type { Problem } from '../protocol/problem.ts'
import type { CodeAnswer, Release, SessionAnswer, TicketAnswer } from '../protocol/reader-api.ts'

/** What came of a request. `unreachable`: no answer, or none that could be understood; nothing is known to have been used up. */
export type Answer<T> =
  | { readonly kind: 'ok'; readonly value: T; readonly proof: string }
  | { readonly kind: 'problem'; readonly problem: Problem }
  | { readonly kind: 'unreachable' }

type Fields = Record<string, unknown>

/** Reads a JSON value as one of the answers of `protocol/reader-api.ts`; null if it is not one. */
export type Parse<T> = (value: unknown) => T | null

export const parseCode: Parse<CodeAnswer> = (value) => {
  const { challenge, expiresAt, tries } = fieldsOf(value)
  if (!isText(challenge) || !isTime(expiresAt) || typeof tries !== 'number') return null
  return { challenge, expiresAt, tries }
}

export const parseSession: Parse<SessionAnswer> = (value) => {
  const { token, address, org, expiresAt } = fieldsOf(value)
  return isText(token) && isText(address) && isText(org) && isTime(expiresAt)
    ? { token, address, org, expiresAt }
    : null
}

export const parseTicket: Parse<TicketAnswer> = (value) => {
  const { ticket, urls } = fieldsOf(value)
  return isText(ticket) && Array.isArray(urls) && urls.every(isText) ? { ticket, urls } : null
}

export const parseJwe: Parse<string> = (value) => {
  const { jwe } = fieldsOf(value)
  return isText(jwe) ? jwe : null
}

export const parseRevoked: Parse<{ readonly revokedAt: string }> = (value) => {
  const { revokedAt } = fieldsOf(value)
  return isTime(revokedAt) ? { revokedAt } : null
}

export const parseRelease: Parse<Release> = (value) => {
  const { dataKey, org, termsHash, sender, issuedAt, expiresAt, role, copies } = fieldsOf(value)
  if (!isText(dataKey) || !isText(org) || !isText(termsHash) || !isTime(issuedAt) || !isTime(expiresAt)) return null
  if ((sender !== null && !isText(sender)) || (role !== 'recipient' && role !== 'sender')) return null
  if (!Array.isArray(copies)) return null
  const read = copies.map(parseCopy)
  if (!read.every((copy) => copy !== null)) return null
  return { dataKey, org, termsHash, sender, issuedAt, expiresAt, role, copies: read }
}

/** A problem (RFC 9457) by its code; null if the value has none. */
export const parseProblem: Parse<Problem> = (value) => {
  const fields = fieldsOf(value)
  return isText(fields.code) && typeof fields.status === 'number' ? (fields as Problem) : null
}

function parseCopy(value: unknown): Release['copies'][number] | null {
  const { digest, sealedSize, plainSize } = fieldsOf(value)
  return isText(digest) && isSize(sealedSize) && isSize(plainSize) ? { digest, sealedSize, plainSize } : null
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {}
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isTime(value: unknown): value is string {
  return isText(value) && !Number.isNaN(Date.parse(value))
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
