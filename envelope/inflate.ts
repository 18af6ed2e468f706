import { EnvelopeError } from './fault.ts'

/**
 * Inflates raw DEFLATE (RFC 1951) that becomes exactly `size` octets. Stops at the first octet beyond, whatever is still to come, so
 * that a small envelope cannot fill the memory of whoever opens it.
 */
export async function inflateWithin(
  pieces: readonly Uint8Array<ArrayBuffer>[],
  size: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const message = new Uint8Array(size)
  let at = 0
  const packed = new Blob([...pieces])
  const reader = packed.stream().pipeThrough(new DecompressionStream('deflate-raw')).getReader()
  for (;;) {
    const next = await reader.read().catch((error: unknown) => {
      throw new EnvelopeError('bad-compression', error instanceof Error ? error.name : '')
    })
    if (next.done) break
    if (at + next.value.length > size) {
      await reader.cancel()
      throw new EnvelopeError('wrong-size', `inflates to more than ${size}`)
    }
    message.set(next.value, at)
    at += next.value.length
  }
  if (at !== size) throw new EnvelopeError('wrong-size', `inflates to ${at}, confirmed ${size}`)
  return message
}
