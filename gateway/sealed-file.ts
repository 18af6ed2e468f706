import { open, rm } from 'node:fs/promises'
import { giveBack, type Lent } from '../envelope/lent.ts'

/** The octets of a sealed copy on disk, written once and read as often as needed. */
export type SealedFile = {
  readonly path: string
  /** Resolves when they are written: the octets may then be used again. */
  write(octets: Uint8Array): Promise<void>
  /** The first `size` octets. Throws if the file is shorter. */
  read(size: number): Lent
  /** Closes the file and removes its name; may be called again. */
  dispose(): Promise<void>
}

const READ_LENGTH = 256 * 1024

/** Octets of the file that some readers are looking at. */
type Piece = { readonly at: number; readonly octets: Promise<Uint8Array>; readers: number }

/** Makes the file, mode 0600. Rejects where there is one of that name. */
export async function createSealedFile(path: string): Promise<SealedFile> {
  const file = await open(path, 'wx+', 0o600)
  let last: Piece | null = null

  /** Who composes and who looks on ask for the same piece, one right after the other: it is read once. */
  function borrow(at: number, size: number): Piece {
    if (last?.at !== at) {
      const before = last
      last = { at, octets: readPiece(file, at, size), readers: 0 }
      letGo(before)
    }
    last.readers += 1
    return last
  }

  function letGo(piece: Piece | null): void {
    if (piece === null || piece === last || piece.readers > 0) return
    // Whoever asked for it has heard of a failure.
    piece.octets.then(giveBack, () => undefined)
  }

  return {
    path,
    async write(octets) {
      const { bytesWritten } = await file.write(octets, 0, octets.length)
      if (bytesWritten < octets.length) await file.writeFile(octets.subarray(bytesWritten))
    },
    async *read(size) {
      for (let at = 0; at < size; ) {
        const piece = borrow(at, size)
        try {
          const octets = await piece.octets
          at += octets.length
          yield octets
        } finally {
          piece.readers -= 1
          letGo(piece)
        }
      }
    },
    async dispose() {
      const before = last
      last = null
      letGo(before)
      await file.close()
      await rm(path, { force: true })
    },
  }
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
