import { createHash, hash, randomBytes } from 'node:crypto'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { giveBack, type Lent } from '../envelope/lent.ts'
import { type SealOptions, seal, sealWhole } from '../envelope/writer.ts'
import type { EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { Room } from './room.ts'
import { createSealedFile } from './sealed-file.ts'

/** An envelope's octets, complete: sizes and digest are known. */
export type SealedCopy = {
  /** SHA-256 of the sealed octets, base64url. */
  readonly digest: string
  readonly sealedSize: number
  readonly plainSize: number
  /** The whole, where it lies in memory; null where it lies in a file. */
  readonly bytes: Uint8Array | null
  /** The file, where there is one: of every copy that `bytes` does not give. */
  readonly path: string | null
  /** The octets, as often as asked until disposed of. */
  chunks(): Lent
  /** Frees memory and file, if any; may be called again. */
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
  plaintext(): Lent
}

export type Sealing = {
  /** Seals the octets of `plain`. Rejects with whatever `plain` fails with; leaves no file behind then. */
  seal(plain: Plain, key: SealingKey): Promise<SealedCopy>
}

export type SealingOptions = {
  /** Gets the sealed copies of more than 1 MiB, under names of their own. Best on one file system with the copies' folder. */
  readonly folder: string
  /** Where there is room in it, a copy in a file is held in memory as well, to be read without the disk. */
  readonly room: Room
  /**
   * The largest mail that the next hop carries, octets: a message is deflated where its mail would else grow beyond that, and deflated need not.
   * Deflating costs time. 25,000,000 if absent, which is what the large providers take.
   */
  readonly carryLimit?: number
}

const MEMORY_LIMIT = 1024 * 1024
/** Octets of one sealed copy that are held in memory beside its file, so that it need not be read twice. */
const SHARE = 8 * 1024 * 1024
const SUFFIX = '.sealing'
/** Base64 in lines of 76 with their ends, and notice and header around it. */
const GROWTH = 78 / 57
const AROUND = 64 * 1024
/** What base64 becomes, of which most large mail consists. */
const DEFLATED = 0.76

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
          encoding: isWorthDeflating(plain.plainSize, carryLimit) ? 'deflate' : 'identity',
        },
      } as const
      if (plain.plainSize > MEMORY_LIMIT) return sealIntoFile(options, plain, sealOptions)
      const octets = await whole(plain)
      const sealed = sealWhole(octets, sealOptions)
      giveBack(octets)
      return inMemory(sealed, plain.plainSize)
    },
  }
}

/** Whether its mail would be too large for the next hop, and would not be if it was deflated. */
function isWorthDeflating(plainSize: number, carryLimit: number): boolean {
  const room = carryLimit - AROUND
  return plainSize * GROWTH > room && plainSize * GROWTH * DEFLATED <= room
}

/** A copy whose octets are all there, and are the copy's from now on. */
export function inMemory(bytes: Uint8Array, plainSize: number): SealedCopy {
  const sealedSize = bytes.length
  return {
    digest: hash('sha256', bytes, 'base64url'),
    sealedSize,
    plainSize,
    bytes,
    path: null,
    async *chunks() {
      if (bytes.length !== sealedSize) throw new Error('this sealed copy was disposed of')
      yield bytes
    },
    dispose: async () => giveBack(bytes),
  }
}

async function whole(plain: Plain): Promise<Uint8Array> {
  const octets = Buffer.allocUnsafe(plain.plainSize)
  let size = 0
  for await (const piece of plain.plaintext()) {
    octets.set(piece, size)
    size += piece.length
  }
  return octets.subarray(0, size)
}

async function sealIntoFile({ folder, room }: SealingOptions, plain: Plain, options: SealOptions): Promise<SealedCopy> {
  const file = await createSealedFile(join(folder, `${randomBytes(16).toString('base64url')}${SUFFIX}`))
  const held = room.hold(SHARE)
  const dispose = async () => {
    held.release()
    await file.dispose()
  }
  try {
    const digest = createHash('sha256')
    let sealedSize = 0
    for await (const piece of seal(plain.plaintext(), options)) {
      digest.update(piece)
      // Whole or not at all: once there is no room for a piece, the rest is not tried.
      if (held.size === sealedSize && !held.add(piece)) held.release()
      sealedSize += piece.length
      await file.write(piece)
    }
    const isHeld = held.size === sealedSize
    return {
      digest: digest.digest('base64url'),
      sealedSize,
      plainSize: plain.plainSize,
      bytes: null,
      path: file.path,
      chunks: () => (isHeld ? held.read(0) : file.read(sealedSize)),
      dispose,
    }
  } catch (error) {
    await dispose()
    throw error
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
