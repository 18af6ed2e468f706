import { randomBytes } from 'node:crypto'
import type { Context, Encoding } from '../../envelope/context.ts'
import { EnvelopeError, type EnvelopeFault } from '../../envelope/fault.ts'
import { open } from '../../envelope/reader.ts'
import { type SealOptions, seal } from '../../envelope/writer.ts'

/** Fresh keys and a context as a key server would issue them. */
export function freshOptions(encoding: Encoding = 'identity'): SealOptions {
  const context: Context = {
    org: 'acme.example',
    envelope: randomBytes(16).toString('base64url'),
    terms: randomBytes(32).toString('base64url'),
    encoding,
  }
  return { dataKey: randomBytes(32), wrappedKey: randomBytes(60), context }
}

export async function* inPieces(octets: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of source) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces)
}

export async function sealed(message: Uint8Array, options: SealOptions, pieceSize = 65_536): Promise<Buffer> {
  return collect(seal(inPieces(message, pieceSize), options))
}

/** The message in `octets`, or the code with which the reader refused. */
export async function openOrFault(
  octets: Uint8Array,
  { dataKey }: SealOptions,
  plainSize: number,
): Promise<Uint8Array | EnvelopeFault> {
  return open([octets], { unlock: () => ({ dataKey, plainSize }) }).then(
    ({ message }) => message,
    (error: unknown) => {
      if (error instanceof EnvelopeError) return error.code
      throw error
    },
  )
}
