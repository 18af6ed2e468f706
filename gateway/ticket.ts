import { type KeyObject, verify } from 'node:crypto'
import type { EnvelopeId } from '../protocol/identifiers.ts'

/** Characters: a ticket has about 250. */
const TICKET_LIMIT = 2048
/** No ticket is good for longer than this, whatever it says; with room for two clocks that differ. Seconds. */
const LIFE = 60
const SKEW = 30
const COMPACT = /^([\w-]{2,512})\.([\w-]{2,1024})\.([\w-]{86})$/

/**
 * Whether the compact JWS (RFC 7515, EdDSA over Ed25519) is the key server's leave to fetch that envelope now. A ticket opens nothing: it lets
 * the bearer have ciphertext. `now` is in seconds. Rejects only as `find` does.
 */
export async function isTicketFor(
  ticket: string,
  id: EnvelopeId,
  find: (kid: string) => Promise<KeyObject | null>,
  now: number,
): Promise<boolean> {
  if (ticket.length > TICKET_LIMIT) return false
  const match = COMPACT.exec(ticket)
  if (match === null) return false
  const [, head = '', claims = '', signature = ''] = match
  const header = readJson(head)
  const { alg, kid, crit } = header ?? {}
  if (alg !== 'EdDSA' || typeof kid !== 'string' || crit !== undefined) return false
  const key = await find(kid)
  if (key === null) return false
  const signed = Buffer.from(`${head}.${claims}`, 'latin1')
  if (!verify(null, signed, key, Buffer.from(signature, 'base64url'))) return false
  const { env, exp } = readJson(claims) ?? {}
  return env === id && typeof exp === 'number' && exp > now - SKEW && exp <= now + LIFE + SKEW
}

function readJson(part: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
    return typeof value === 'object' && value !== null ? { ...value } : null
  } catch {
    // Whatever is not JSON is no ticket.
    return null
  }
}
