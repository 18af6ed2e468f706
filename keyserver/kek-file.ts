import { createHash, randomBytes } from 'node:crypto'
import { mkdir, open, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { openOctets, sealOctets } from './sealing.ts'

/** What keeps the organization key (KEK) and wraps other keys under it. `aad` binds a wrapped key to its place. */
export interface KekProvider {
  /** The same for the same key, wherever it is kept. */
  readonly id: string
  wrap(key: Uint8Array, aad: string): Promise<Uint8Array>
  /** Null if it was not wrapped by this key for this place. */
  unwrap(wrapped: Uint8Array, aad: string): Promise<Uint8Array | null>
  /** Throws in plain words if the key cannot be used. */
  health(): Promise<void>
}

/** Why the organization key cannot be used, in words for the operator. */
export class KekError extends Error {
  override readonly name = 'KekError'
}

const FORM = /^sealpost-kek-1 ([A-Za-z0-9_-]{22}) ([A-Za-z0-9_-]{43})\s*$/

/**
 * The organization key in a file: one line, `sealpost-kek-1 <id> <key>`. Refuses, naming the file, one that others can read, that is
 * damaged, or that is missing: a new key is made only if `first` says that nothing was ever wrapped by an old one.
 */
export async function openKekFile(file: string, first: boolean): Promise<KekProvider> {
  const text = (await readText(file)) ?? (first ? await create(file) : null)
  if (text === null) {
    throw new KekError(
      `the organization key ${file} is missing, but there are messages sealed under it: put it back from its backup; without it none of them can ever be opened`,
    )
  }
  const [, id = '', encoded = ''] = FORM.exec(text) ?? []
  const key = Buffer.from(encoded, 'base64url')
  if (key.length !== 32 || idOf(key) !== id) {
    throw new KekError(`the organization key ${file} is damaged: put it back from its backup`)
  }
  return {
    id,
    wrap: async (plain, aad) => sealOctets(key, plain, aad),
    unwrap: async (wrapped, aad) => openOctets(key, wrapped, aad),
    health: async () => {
      const now = await readText(file)
      if (now === null)
        throw new KekError(`the organization key ${file} is gone: put it back from its backup before this server stops`)
      if (FORM.exec(now)?.[1] !== id)
        throw new KekError(`the organization key ${file} is not the one this server started with`)
    },
  }
}

async function readText(file: string): Promise<string | null> {
  try {
    const { mode } = await stat(file)
    if ((mode & 0o077) !== 0) {
      throw new KekError(
        `the organization key ${file} can be read by others (mode ${(mode & 0o777).toString(8)}): chmod 600 ${file}`,
      )
    }
    return await readFile(file, 'utf8')
  } catch (cause) {
    if (cause instanceof KekError) throw cause
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
    throw new KekError(
      `the organization key ${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
    )
  }
}

async function create(file: string): Promise<string> {
  const key = randomBytes(32)
  const text = `sealpost-kek-1 ${idOf(key)} ${key.toString('base64url')}\n`
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await writeFile(file, text, { flag: 'wx', mode: 0o600, flush: true })
  const folder = await open(dirname(file), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
  return text
}

function idOf(key: Uint8Array): string {
  return createHash('sha256').update('sealpost/kek-id/v1\n').update(key).digest().subarray(0, 16).toString('base64url')
}
