import { createHash, hash, randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type SealOptions, seal, sealWhole } from '../envelope/writer.ts'
import type { EnvelopeId, OrgId } from '../protocol/identifiers.ts'

/** An envelope's octets, complete: sizes and digest are known. */
export type SealedCopy = {
  /** SHA-256 of the sealed octets, base64url. */
  readonly digest: string
  readonly sealedSize: number
  readonly plainSize: number
  /** The whole, where it lies in memory; null where it lies in a file. */
  readonly bytes: Uint8Array | null
  /** The file, where it lies in one. */
  readonly path: string | null
  /** The octets, as often as asked until disposed of. */
  chunks(): AsyncIterable<Uint8Array>
  /** Frees the file, if any; may be called again. */
  dispose(): Promise<void>
}

/** What one sealing needs, from the key server's answer. */
export type SealingKey = {
  readonly org: OrgId
  readonly id: EnvelopeId
  /** 32 octets; left as they are. */
  readonly dataKey: Uint8Array
  /** 60 octets. */
  readonly wrappedKey: Uint8Array
  readonly termsHash: string
}

/** What is sealed; `Content` of intake.ts is one. */
export type Plain = {
  readonly plainSize: number
  plaintext(): AsyncIterable<Uint8Array>
}

export type Sealing = {
  /** Seals the octets of `plain`. Rejects with whatever `plain` fails with; leaves no file behind then. */
  seal(plain: Plain, key: SealingKey): Promise<SealedCopy>
}

export type SealingOptions = {
  /** Gets the sealed copies of more than 1 MiB, under names of their own. Best on one file system with the copies' folder. */
  readonly folder: string
  /**
   * The largest mail that the next hop carries, octets: a message is deflated where its mail would else grow beyond that. Deflating costs
   * time. 25,000,000 if absent, which is what the large providers take.
   */
  readonly carryLimit?: number
}

const MEMORY_LIMIT = 1024 * 1024
const READ_LENGTH = 512 * 1024
const SUFFIX = '.sealing'
/** Base64 in lines of 76 with their ends, and notice and header around it. */
const GROWTH = 78 / 57
const AROUND = 64 * 1024

/** The folder is made where it is missing, and rid of what a killed process left there more than a day ago. */
export async function createSealing(options: SealingOptions): Promise<Sealing> {
  await mkdir(options.folder, { recursive: true, mode: 0o700 })
  await sweep(options.folder)
  const carryLimit = options.carryLimit ?? 25_000_000
  return {
    async seal(plain, key) {
      const sealOptions = {
        dataKey: key.dataKey,
        wrappedKey: key.wrappedKey,
        context: {
          org: key.org,
          envelope: key.id,
          terms: key.termsHash,
          encoding: plain.plainSize * GROWTH + AROUND > carryLimit ? 'deflate' : 'identity',
        },
      } as const
      if (plain.plainSize > MEMORY_LIMIT) return sealIntoFile(options.folder, plain, sealOptions)
      return inMemory(await sealWhole(await whole(plain), sealOptions), plain.plainSize)
    },
  }
}

/** A copy whose octets are all there. */
export function inMemory(bytes: Uint8Array, plainSize: number): SealedCopy {
  return {
    digest: hash('sha256', bytes, 'base64url'),
    sealedSize: bytes.length,
    plainSize,
    bytes,
    path: null,
    async *chunks() {
      yield bytes
    },
    dispose: async () => undefined,
  }
}

async function whole(plain: Plain): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const piece of plain.plaintext()) pieces.push(piece)
  const [only] = pieces
  return pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces)
}

async function sealIntoFile(folder: string, plain: Plain, options: SealOptions): Promise<SealedCopy> {
  const path = join(folder, `${randomBytes(16).toString('base64url')}${SUFFIX}`)
  const file = await open(path, 'wx+', 0o600)
  try {
    const digest = createHash('sha256')
    let sealedSize = 0
    for await (const piece of seal(plain.plaintext(), options)) {
      digest.update(piece)
      await file.writeFile(piece)
      sealedSize += piece.length
    }
    return {
      digest: digest.digest('base64url'),
      sealedSize,
      plainSize: plain.plainSize,
      bytes: null,
      path,
      chunks: () => readFrom(file, sealedSize),
      async dispose() {
        await file.close()
        await rm(path, { force: true })
      },
    }
  } catch (error) {
    await file.close()
    await rm(path, { force: true })
    throw error
  }
}

type Readable = {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
}

/** `size` octets of the file, in pieces that are never used again. Throws if the file is shorter. */
export async function* readFrom(file: Readable, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; ) {
    const piece = Buffer.allocUnsafe(Math.min(READ_LENGTH, size - at))
    const { bytesRead } = await file.read(piece, 0, piece.length, at)
    if (bytesRead === 0) throw new Error('a sealed copy is shorter than it was when it was written')
    at += bytesRead
    yield bytesRead === piece.length ? piece : piece.subarray(0, bytesRead)
  }
}

async function sweep(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.endsWith(SUFFIX)) continue
    const path = join(folder, name)
    const { mtimeMs } = await stat(path)
    if (Date.now() - mtimeMs > 86_400_000) await rm(path, { force: true })
  }
}
