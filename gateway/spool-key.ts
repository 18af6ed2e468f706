import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import { basename, dirname } from 'node:path'
import { ConfigError } from '../protocol/config-document.ts'
import { readIfThere } from './durable-file.ts'
import { madeSecret } from './made-secret.ts'

/** Wraps the data key of each spool entry. Without it what lies in the spool is noise. */
export type SpoolKey = {
  /** 60 octets: iv, AES-256-GCM of the 32 octets under the spool key with the entry's name as additional data, tag. */
  wrap(dataKey: Uint8Array, name: string): Uint8Array
  /** Throws where the octets were altered, are another entry's, or were wrapped under another key. */
  unwrap(wrapped: Uint8Array, name: string): Uint8Array
}

export const WRAPPED_LENGTH = 60
const CIPHER = 'aes-256-gcm'

/**
 * The key in the file `path` (0600), made where there is none. Rejects with a {@link ConfigError} where there is none although `occupied`: a
 * new key would open nothing of what waits, and hide that it was lost.
 */
export async function loadSpoolKey(path: string, occupied: boolean): Promise<SpoolKey> {
  if (occupied && (await readIfThere(path)) === null) {
    throw new ConfigError([
      `${path}: mail is kept under it, but its key is missing; restore the file, or move the folder of that mail away`,
    ])
  }
  const key = Buffer.from(await madeSecret(dirname(path), basename(path)), 'base64url')
  if (key.length !== 32) throw new ConfigError([`${path}: this is no spool key; restore the file`])
  return spoolKeyOf(key)
}

/** `octets`: 32. */
export function spoolKeyOf(octets: Uint8Array): SpoolKey {
  // Given as octets it would be made into an object for each call, at several times the price.
  const key = createSecretKey(octets)
  const aad = (name: string) => Buffer.from(`sealpost/spool/v1\n${name}`, 'utf8')
  return {
    wrap(dataKey, name) {
      const iv = randomBytes(12)
      const cipher = createCipheriv(CIPHER, key, iv).setAAD(aad(name))
      return Buffer.concat([iv, cipher.update(dataKey), cipher.final(), cipher.getAuthTag()])
    },
    unwrap(wrapped, name) {
      if (wrapped.length !== WRAPPED_LENGTH) throw new Error('a wrapped key has 60 octets')
      const decipher = createDecipheriv(CIPHER, key, wrapped.subarray(0, 12)).setAAD(aad(name))
      decipher.setAuthTag(wrapped.subarray(44))
      return Buffer.concat([decipher.update(wrapped.subarray(12, 44)), decipher.final()])
    },
  }
}
