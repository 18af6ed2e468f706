import { open, rm } from 'node:fs/promises'

/** The octets of a sealed copy on disk, written once and read as often as needed. */
export type SealedFile = {
  readonly path: string
  /** The octets must not be overwritten. Resolves when more may come, which is before they are written. */
  write(octets: Uint8Array): Promise<void>
  /** Resolves when all is written. */
  finish(): Promise<void>
  /** Of `size` octets, in pieces that are never used again. Throws if the file is shorter. */
  read(size: number): AsyncIterable<Uint8Array>
  /** Closes the file and removes its name; may be called again. */
  dispose(): Promise<void>
}

const READ_LENGTH = 512 * 1024
/** Octets that are gathered into one write. */
const BLOCK = 512 * 1024

/** Makes the file, mode 0600. Rejects where there is one of that name. */
export async function createSealedFile(path: string): Promise<SealedFile> {
  const file = await open(path, 'wx+', 0o600)
  let pieces: Uint8Array[] = []
  let gathered = 0
  let writing: Promise<void> = Promise.resolve()
  let last: { readonly at: number; readonly piece: Promise<Uint8Array> } | null = null

  /** Who composes and who looks on ask for the same piece, one right after the other. */
  function pieceAt(at: number, size: number): Promise<Uint8Array> {
    if (last?.at !== at) last = { at, piece: readPiece(file, at, size) }
    return last.piece
  }

  async function flush(): Promise<void> {
    const [block, size] = [pieces, gathered]
    pieces = []
    gathered = 0
    await writing
    // The next block is sealed while this one is written; who waits next hears of a failure.
    writing = writeWhole(file, block, size)
    writing.catch(() => undefined)
  }

  return {
    path,
    async write(octets) {
      pieces.push(octets)
      gathered += octets.length
      if (gathered >= BLOCK) await flush()
    },
    async finish() {
      if (gathered > 0) await flush()
      await writing
    },
    async *read(size) {
      for (let at = 0; at < size; ) {
        const piece = await pieceAt(at, size)
        yield piece
        at += piece.length
      }
    },
    async dispose() {
      last = null
      await writing.catch(() => undefined)
      await file.close()
      await rm(path, { force: true })
    },
  }
}

type Writable = {
  writev(pieces: Uint8Array[]): Promise<{ bytesWritten: number }>
  writeFile(octets: Uint8Array): Promise<void>
}

async function writeWhole(file: Writable, pieces: Uint8Array[], size: number): Promise<void> {
  const { bytesWritten } = await file.writev(pieces)
  if (bytesWritten < size) await file.writeFile(Buffer.concat(pieces).subarray(bytesWritten))
}

type Readable = {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
}

/** `size` octets of the file, in pieces that are never used again. Throws if the file is shorter. */
export async function* readFrom(file: Readable, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; ) {
    const piece = await readPiece(file, at, size)
    at += piece.length
    yield piece
  }
}

async function readPiece(file: Readable, at: number, size: number): Promise<Uint8Array> {
  const piece = Buffer.allocUnsafeSlow(Math.min(READ_LENGTH, size - at))
  const { bytesRead } = await file.read(piece, 0, piece.length, at)
  if (bytesRead === 0) throw new Error('a sealed copy is shorter than it was when it was written')
  return bytesRead === piece.length ? piece : piece.subarray(0, bytesRead)
}
