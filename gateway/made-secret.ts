import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ConfigError } from '../protocol/config-document.ts'
import { readSecretFile } from '../protocol/secret-file.ts'
import { readIfThere, writeDurably } from './durable-file.ts'

/**
 * A secret that the configuration leaves to us: 32 random octets as base64url, made once and kept in `folder`, mode 0600. Rejects with a
 * {@link ConfigError} where the file cannot be used.
 */
export async function madeSecret(folder: string, name: string): Promise<string> {
  const path = join(folder, name)
  if ((await readIfThere(path)) === null) await writeDurably(path, `${randomBytes(32).toString('base64url')}\n`)
  const read = readSecretFile(path, 'the secret')
  if (read.kind === 'fault') throw new ConfigError([read.fault])
  return read.content.toString('utf8').trim()
}
