/** Base64 in lines of 76 characters and CRLF (RFC 2045 6.8), fast: no object is made for each of the many lines. */

import { giveBack, type Lent } from '../envelope/lent.ts'
import type { Reading } from './courier.ts'

const IN = 57
const OUT = 78
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
/** The two characters of each 12 bits, as they lie in memory. */
const PAIRS = pairsOf([...ALPHABET].flatMap((first) => [...ALPHABET].map((second) => first + second)))
const [CRLF = 0] = pairsOf(['\r\n'])
/** Shorter pieces are gathered, so that few of them do not make as many chunks. */
const SHORT = 1024
/** Octets of a block, whole lines: what is sent over the wire in one write, 256 KiB and a little. */
const BLOCK = 3361 * OUT

/** Octets that `size` octets become. */
export function base64Size(size: number): number {
  const lines = Math.ceil(size / IN)
  return 4 * Math.ceil(size / 3) + 2 * lines
}

/** The whole of `bytes`, its last line closed as well. Where more is to follow, `bytes` must be a multiple of 57 octets. */
export function base64Lines(bytes: Uint8Array): Buffer {
  const out = Buffer.allocUnsafeSlow(base64Size(bytes.length))
  const whole = bytes.length - (bytes.length % IN)
  const end = codeLines(bytes, 0, whole, out, 0)
  if (whole < bytes.length) out.write(`${Buffer.from(bytes.subarray(whole)).toString('base64')}\r\n`, end, 'latin1')
  return out
}

/** The same over a stream of `size` octets, whatever its chunks, in blocks of {@link BLOCK}. */
export async function* base64Stream(source: Lent, size: number, reading: Reading): AsyncGenerator<Uint8Array> {
  const length = Math.min(BLOCK, Math.ceil(size / IN) * OUT)
  let rest: Uint8Array = new Uint8Array()
  let out = Buffer.allocUnsafeSlow(length)
  let filled = 0
  for await (const chunk of source) {
    const short = chunk.length < SHORT
    const bytes = short ? Buffer.concat([rest, chunk]) : chunk
    if (bytes.length < SHORT) {
      rest = bytes
      continue
    }
    // What was left over is filled up to whole lines, and the long chunk behind it stays where it is.
    const lent = short ? 0 : (IN - (rest.length % IN)) % IN
    const head = short ? new Uint8Array() : Buffer.concat([rest, chunk.subarray(0, lent)])
    const whole = bytes.length - ((bytes.length - lent) % IN)
    for (const part of [head, bytes.subarray(lent, whole)]) {
      for (let from = 0; from < part.length; ) {
        const to = Math.min(part.length, from + ((length - filled) / OUT) * IN)
        filled = codeLines(part, from, to, out, filled)
        from = to
        if (filled < length) continue
        yield out
        if (reading === 'kept') out = Buffer.allocUnsafeSlow(length)
        filled = 0
      }
    }
    rest = Buffer.from(bytes.subarray(whole))
  }
  if (filled > 0) yield out.subarray(0, filled)
  if (reading === 'lent') giveBack(out)
  if (rest.length > 0) yield base64Lines(rest)
}

/** Whole lines of the octets from `from` to `end`, a multiple of 57 apart, written to `out` at `at`, which is even. The place behind them. */
function codeLines(bytes: Uint8Array, from: number, end: number, out: Buffer, at: number): number {
  const pairs = new Uint16Array(out.buffer, out.byteOffset, out.length >> 1)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let to = at >> 1
  for (let line = from; line < end; line += IN) {
    const first = view.getUint32(line)
    pairs[to] = PAIRS[first >>> 20] ?? 0
    pairs[to + 1] = PAIRS[(first >>> 8) & 0xfff] ?? 0
    to += 2
    // Four octets at once are quicker than three: the one before them is passed over, as behind the last there is none.
    for (let octet = line + 2; octet < line + IN - 1; octet += 3) {
      const four = view.getUint32(octet)
      pairs[to] = PAIRS[(four >>> 12) & 0xfff] ?? 0
      pairs[to + 1] = PAIRS[four & 0xfff] ?? 0
      to += 2
    }
    pairs[to++] = CRLF
  }
  return to << 1
}

function pairsOf(texts: readonly string[]): Uint16Array {
  return new Uint16Array(Uint8Array.from(Buffer.from(texts.join(''), 'latin1')).buffer)
}
