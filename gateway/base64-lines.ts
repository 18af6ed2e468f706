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
  const text = Buffer.from(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64'), 'latin1')
  const out = Buffer.allocUnsafe(base64Size(bytes.length))
  let to = 0
  for (let from = 0; from < text.length; from += OUT - 2) {
    const line = text.subarray(from, from + OUT - 2)
    out.set(line, to)
    to += line.length
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
