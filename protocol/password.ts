import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'

/**
 * Passwords at rest, as PHC strings: `$scrypt$ln=15,r=8,p=1$<salt>$<hash>`, salt 16 and hash 32 octets in base64 without padding.
 * `sealpost smtp-user add` writes them, the gateway's SASL reads them.
 */

const LOG_COST = 15
const SALT_OCTETS = 16
const HASH_OCTETS = 32
const SHAPE = /^\$scrypt\$ln=(\d{2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})$/

/** Whether `text` is a hash that {@link verifyPassword} can check: that shape, and costs of at most 64 MiB and four passes. */
export function isPasswordHash(text: string): boolean {
  return read(text) !== null
}

/** The PHC string of a password under a fresh salt. 32 MiB of memory for about 60 ms. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_OCTETS)
  const hash = await derive(password, salt, { N: 2 ** LOG_COST, r: 8, p: 1 })
  return `$scrypt$ln=${LOG_COST},r=8,p=1$${unpadded(salt)}$${unpadded(hash)}`
}

/** Whether `password` is the one in the PHC string; false for a string of another shape. Compared in constant time. */
export async function verifyPassword(password: string, phc: string): Promise<boolean> {
  const stored = read(phc)
  if (stored === null) return false
  return timingSafeEqual(await derive(password, stored.salt, stored.cost), stored.hash)
}

type Stored = {
  readonly cost: { readonly N: number; readonly r: number; readonly p: number }
  readonly salt: Buffer
  readonly hash: Buffer
}

function read(phc: string): Stored | null {
  const [, ln, r, p, salt, hash] = SHAPE.exec(phc) ?? []
  if (salt === undefined || hash === undefined) return null
  const cost = { N: 2 ** Number(ln), r: Number(r), p: Number(p) }
  const bounded =
    cost.N >= 2 ** 14 && cost.r >= 1 && cost.p >= 1 && cost.p <= 4 && cost.N * cost.r * 128 <= 64 * 2 ** 20
  return bounded ? { cost, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') } : null
}

/** NFC, so that one password typed on two systems is one; twice the memory that is needed, as OpenSSL counts more than the formula. */
function derive(password: string, salt: Buffer, cost: Stored['cost']): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const options = { ...cost, maxmem: 2 * 128 * cost.N * cost.r }
  scrypt(password.normalize('NFC'), salt, HASH_OCTETS, options, (error, key) => (error ? reject(error) : resolve(key)))
  return promise
}

function unpadded(octets: Buffer): string {
  return octets.toString('base64').replace(/=+$/, '')
}
