/** Base64 in lines of 76 characters and CRLF (RFC 2045 6.8), fast. */

const IN = 57
const OUT = 78

/** Octets that `size` octets become. */
export function base64Size(size: number): number {
  const lines = Math.ceil(size / IN)
  return 4 * Math.ceil(size / 3) + 2 * lines
}

/** The whole of `bytes`, its last line closed as well. Where more is to follow, `bytes` must be a multiple of 57 octets. */
export function base64Lines(bytes: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(base64Size(bytes.length))
  // Coded into the end of its own place, then moved up line by line: no object is made for each of the many lines.
  const start = out.length - 4 * Math.ceil(bytes.length / 3)
  out.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64'), start, 'latin1')
  let to = 0
  for (let from = start; from < out.length; from += OUT - 2) {
    const end = Math.min(from + OUT - 2, out.length)
    out.copyWithin(to, from, end)
    to += end - from
    out[to++] = 0x0d
    out[to++] = 0x0a
  }
  return out
}

/** The same over a stream, whatever its chunks. */
export async function* base64Stream(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest: Uint8Array = new Uint8Array()
  for await (const chunk of source) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const whole = bytes.length - (bytes.length % IN)
    if (whole > 0) yield base64Lines(bytes.subarray(0, whole))
    rest = bytes.subarray(whole)
  }
  if (rest.length > 0) yield base64Lines(rest)
}
