import { createCipheriv, createDecipheriv, createHash, createSecretKey, hash, randomBytes } from 'node:crypto'
import type { Person } from './fields.ts'

/** A clear value and the salt (16 octets) that its commitment in the leaf was made with. */
export type Clear = { readonly salt: Uint8Array; readonly value: string }

/** The clear values of one person in one record, encrypted under that person's key: iv(12) || AES-256-GCM || tag(16). */
export type SidePart = { readonly pseudonym: string; readonly sealed: Uint8Array }

const PSEUDONYM = 16
const IV = 12
const TAG = 16

/** What stands in a leaf for a personal value: base64url SHA-256(salt || UTF-8 value). `salt` is 16 random octets, new for each value. */
export function personal(value: string, salt: Uint8Array): string {
  if (salt.length !== 16) throw new RangeError('a salt has 16 octets')
  return createHash('sha256').update(salt).update(value, 'utf8').digest('base64url')
}

/** A new pseudonym: 16 random octets, base64url. One per person and log, kept by the caller beside the person's key. */
export function newPseudonym(): string {
  return randomBytes(PSEUDONYM).toString('base64url')
}

/** A side-car: for each person pseudonym(16) || length(4, big-endian) || sealed. Null where there is nothing to carry. */
export function sealSide(parts: readonly SidePart[]): Uint8Array | null {
  if (parts.length === 0) return null
  return Buffer.concat(
    parts.flatMap(({ pseudonym, sealed }) => {
      const head = Buffer.alloc(PSEUDONYM + 4)
      head.write(pseudonym, 'base64url')
      head.writeUInt32BE(sealed.length, PSEUDONYM)
      return [head, sealed]
    }),
  )
}

/** The parts of a side-car, or null if it is cut, too long or otherwise not one. */
export function readSide(side: Uint8Array): readonly SidePart[] | null {
  const octets = Buffer.from(side.buffer, side.byteOffset, side.length)
  const parts: SidePart[] = []
  let at = 0
  while (at < octets.length) {
    if (octets.length - at < PSEUDONYM + 4) return null
    const start = at + PSEUDONYM + 4
    const end = start + octets.readUInt32BE(at + PSEUDONYM)
    if (end > octets.length || end - start < IV + TAG) return null
    parts.push({ pseudonym: octets.toString('base64url', at, at + PSEUDONYM), sealed: octets.subarray(start, end) })
    at = end
  }
  return parts
}

/** Encrypts one person's clear values. `personKey` is 32 octets; the log and the pseudonym are bound as additional data. */
export function sealPart(personKey: Uint8Array, log: string, pseudonym: string, clears: readonly Clear[]): SidePart {
  const iv = randomBytes(IV)
  // Given octets, Node takes ten times as long to make a cipher.
  const cipher = createCipheriv('aes-256-gcm', createSecretKey(personKey), iv).setAAD(associated(log, pseudonym))
  const plain = JSON.stringify(clears.map(({ salt, value }) => [Buffer.from(salt).toString('base64url'), value]))
  return { pseudonym, sealed: Buffer.concat([iv, cipher.update(plain, 'utf8'), cipher.final(), cipher.getAuthTag()]) }
}

/**
 * One person's clear values in a side-car, by their commitments; null if the side-car is not one, holds nothing of this person, or the key
 * does not open it.
 */
export function openSide(
  personKey: Uint8Array,
  log: string,
  pseudonym: string,
  side: Uint8Array,
): ReadonlyMap<string, string> | null {
  const sealed = readSide(side)?.find((part) => part.pseudonym === pseudonym)?.sealed
  if (sealed === undefined) return null
  try {
    const decipher = createDecipheriv('aes-256-gcm', personKey, sealed.subarray(0, IV))
    decipher.setAAD(associated(log, pseudonym)).setAuthTag(sealed.subarray(-TAG))
    const plain = Buffer.concat([decipher.update(sealed.subarray(IV, -TAG)), decipher.final()]).toString('utf8')
    const clears = JSON.parse(plain) as readonly (readonly [string, string])[]
    return new Map(clears.map(([salt, value]) => [personal(value, Buffer.from(salt, 'base64url')), value]))
  } catch {
    return null // A wrong key and altered octets look the same, and are answered the same.
  }
}

/** What a leaf says of its side-car: base64url SHA-256, or null where there is none. */
export function sideHash(side: Uint8Array | null): string | null {
  return side === null ? null : hash('sha256', side, 'base64url')
}

/** Collects the personal values of one record while it is written. */
export type Sealing = {
  /** The person's place in the record. */
  person(pseudonym: string, personKey: Uint8Array, address: string): Person
  /** A commitment to a further value of that person (network address, provider's reply). The person must have been named before, or be given by key. */
  value(pseudonym: string, personKey: Uint8Array, value: string): string
  /** Everything collected, encrypted. */
  parts(): readonly SidePart[]
}

/** A {@link Sealing} for one record of `log`. */
export function createSealing(log: string): Sealing {
  const persons = new Map<string, { readonly key: Uint8Array; readonly clears: Clear[] }>()
  function value(pseudonym: string, key: Uint8Array, clear: string): string {
    const entry = persons.get(pseudonym) ?? { key, clears: [] }
    persons.set(pseudonym, entry)
    const salt = randomBytes(16)
    entry.clears.push({ salt, value: clear })
    return personal(clear, salt)
  }
  return {
    value,
    person: (pseudonym, key, address) => ({ pseudonym, address: value(pseudonym, key, address) }),
    parts: () => [...persons].map(([pseudonym, { key, clears }]) => sealPart(key, log, pseudonym, clears)),
  }
}

function associated(log: string, pseudonym: string): Uint8Array {
  return Buffer.from(`sealpost/log-side/v1\n${log}\n${pseudonym}`, 'utf8')
}
