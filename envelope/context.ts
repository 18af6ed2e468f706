import { EnvelopeError } from './fault.ts'

/** How the plaintext was coded before it was encrypted: as it is, or raw DEFLATE (RFC 1951). */
export type Encoding = 'identity' | 'deflate'

/**
 * What an envelope says about itself to everybody who holds it, authenticated: docs/format.md, section Encryption context.
 * ASCII only, and nothing about people.
 */
export type Context = {
  readonly org: string
  /** 16 octets, base64url. */
  readonly envelope: string
  /** Hash of terms and policy at issue: SHA-256, base64url. */
  readonly terms: string
  readonly encoding: Encoding
}

/** The language of each value. The keys are in the order in which they are written: by octets. */
const languages = {
  encoding: /^(?:identity|deflate)$/,
  envelope: /^[A-Za-z0-9_-]{21}[AQgw]$/,
  org: /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$/,
  'sealpost-version': /^1$/,
  terms: /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/,
} as const

/** The pairs of the encryption context, in canonical order. Throws `bad-request` if a value lies outside its language. */
export function contextPairs(context: Context): [string, string][] {
  const pairs = Object.entries({ ...context, 'sealpost-version': '1' }).sort(([a], [b]) => (a < b ? -1 : 1))
  const fault = contextFault(pairs)
  if (fault !== null) throw new EnvelopeError('bad-request', fault)
  return pairs
}

/** The context in the pairs of a header. Throws `malformed-header` unless it holds exactly our keys with values in their languages. */
export function readContext(pairs: readonly (readonly [string, string])[]): Context {
  const fault = contextFault(pairs)
  if (fault !== null) throw new EnvelopeError('malformed-header', fault)
  const { 'sealpost-version': _version, ...context } = Object.fromEntries(pairs)
  // The languages above have just been checked, key by key.
  return context as Context
}

function contextFault(pairs: readonly (readonly [string, string])[]): string | null {
  const expected = Object.entries(languages)
  if (pairs.length !== expected.length) return 'context: wrong number of keys'
  for (const [i, [name, language]] of expected.entries()) {
    const [key, value] = pairs[i] ?? ['', '']
    if (key !== name) return `context: ${name} is missing`
    if (!language.test(value)) return `context: the value of ${name} is not allowed`
  }
  return null
}
