/** Transparency (RFC 5321 4.5.2) for content in chunks: a full stop that begins a line is doubled. */
export type DotStuffing = {
  /** The octets as they go onto the wire; the chunk itself where nothing is to be doubled. */
  stuff(chunk: Uint8Array): Uint8Array
  /** What ends the content: the dot line, after a CRLF where the content did not end with one. */
  end(): Uint8Array
}

const DOT = 0x2e
const CR = 0x0d
const LF = 0x0a

export function createDotStuffing(): DotStuffing {
  // The last two octets seen, as if a line had just ended before the first.
  let previous = CR
  let last = LF
  return {
    stuff(chunk) {
      if (chunk.length === 0) return chunk
      const atLineStart = previous === CR && last === LF && chunk[0] === DOT
      const split = last === CR && chunk[0] === LF && chunk[1] === DOT
      const places = lineDots(chunk)
      if (split) places.unshift(1)
      if (atLineStart) places.unshift(0)
      previous = chunk.length > 1 ? (chunk[chunk.length - 2] ?? 0) : last
      last = chunk[chunk.length - 1] ?? 0
      return places.length === 0 ? chunk : doubled(chunk, places)
    },
    end: () => Buffer.from(previous === CR && last === LF ? '.\r\n' : '\r\n.\r\n', 'latin1'),
  }
}

/** Where a full stop stands behind a CRLF that lies in the chunk as well. */
function lineDots(chunk: Uint8Array): number[] {
  const places: number[] = []
  // Base64 holds no full stop at all: one fast search settles most chunks.
  if (chunk.indexOf(DOT) === -1) return places
  const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
  for (let at = buffer.indexOf('\r\n.', 0, 'latin1'); at !== -1; at = buffer.indexOf('\r\n.', at + 3, 'latin1')) {
    places.push(at + 2)
  }
  return places
}

function doubled(chunk: Uint8Array, places: readonly number[]): Uint8Array {
  const out = Buffer.allocUnsafe(chunk.length + places.length)
  let from = 0
  let to = 0
  for (const place of places) {
    out.set(chunk.subarray(from, place), to)
    to += place - from
    out[to++] = DOT
    from = place
  }
  out.set(chunk.subarray(from), to)
  return out
}
