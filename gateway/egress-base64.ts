import type { Lent } from '../envelope/lent.ts'
import type { SealedCopy } from './sealing.ts'

const LINE = 78
const PLAIN = 57
/** No value of 12 bits. */
const NO_BITS = 0xf000
const BITS = bitsOfPairs()
const [LINE_END = 0] = pairsOf(Buffer.from('\r\n', 'latin1'))

/**
 * Passes on, as it was lent, what is base64 of exactly the sealed copy, in lines of 76 characters, and behind it exactly `tail`. A string in its output names what
 * was found instead; nothing follows it.
 */
export async function* watchBase64(
  stream: Lent,
  sealed: SealedCopy,
  tail: string,
): AsyncGenerator<Uint8Array | string> {
  const copy = createCopyReader(sealed)
  const size = codedSize(sealed.sealedSize)
  // The last line may be as long as the others and still end in padding: it is looked at on its own.
  const full = Math.floor(sealed.sealedSize / PLAIN) * LINE
  let seen = 0
  let held: Buffer = Buffer.alloc(0)
  for await (const chunk of stream) {
    held = held.length === 0 ? view(chunk) : Buffer.concat([held, chunk])
    const left = size - seen
    const whole = Math.min(held.length - (held.length % LINE), Math.max(0, full - seen))
    const last = held.length >= left ? left - whole : 0
    const block = held.subarray(0, whole + last)
    if (seen === 0 && block.length > 0 && !beginsAsEnvelope(block)) return yield 'the attachment is no envelope'
    const fault =
      (await linesFault(block.subarray(0, whole), copy)) ?? (await lastLineFault(block.subarray(whole), copy))
    if (fault !== null) return yield fault
    if (block.length > 0) yield block
    seen += block.length
    held = Buffer.from(held.subarray(block.length))
    if (seen === size && held.length > tail.length) return yield 'something follows the attachment'
  }
  if (seen !== size) return yield 'the attachment breaks off'
  if (held.toString('latin1') !== tail) return yield 'the mail does not end with its boundary'
  if (!(await copy.ended())) return yield 'the sealed copy is longer than it was'
  yield held
}

/** Version 2, suite 0x0478: docs/format.md. */
function beginsAsEnvelope(block: Buffer): boolean {
  return block.toString('latin1', 0, 4) === Buffer.from([0x02, 0x04, 0x78]).toString('base64')
}

async function linesFault(block: Buffer, copy: CopyReader): Promise<string | null> {
  const pairs = pairsOf(block)
  for (let at = 0; at < block.length; ) {
    const expected = await copy.take(PLAIN, ((block.length - at) / LINE) * PLAIN)
    if (expected === null) return 'the attachment is not the sealed copy'
    const fault = compare(pairs, at >> 1, expected)
    if (fault !== null) return fault
    at += (expected.length / PLAIN) * LINE
  }
  return null
}

/** Whether the lines from `from` on, in pairs of characters, decode to these octets, of which there are whole lines. */
function compare(pairs: Uint16Array, from: number, expected: Uint8Array): string | null {
  let at = from
  let different = 0
  let seen = 0
  for (let octet = 0; octet < expected.length; ) {
    for (const end = octet + PLAIN; octet < end; octet += 3) {
      const high = BITS[pairs[at] ?? 0] ?? NO_BITS
      const low = BITS[pairs[at + 1] ?? 0] ?? NO_BITS
      at += 2
      const group = ((expected[octet] ?? 0) << 16) | ((expected[octet + 1] ?? 0) << 8) | (expected[octet + 2] ?? 0)
      different |= ((high << 12) | low) ^ group
      seen |= high | low
    }
    if (pairs[at++] !== LINE_END) return 'a line of the attachment has the wrong length'
  }
  if ((seen & NO_BITS) !== 0) return 'the attachment is not base64'
  return different === 0 ? null : 'the attachment is not the sealed copy'
}

function pairsOf(octets: Buffer): Uint16Array {
  const even = octets.byteOffset % 2 === 0 ? octets : Uint8Array.from(octets)
  return new Uint16Array(even.buffer, even.byteOffset, even.length >> 1)
}

/** The 12 bits of two characters next to each other in memory; the URL's alphabet is not base64 in mail. */
function bitsOfPairs(): Uint16Array {
  const bits = new Uint16Array(65_536).fill(NO_BITS)
  const value = Buffer.alloc(2)
  for (let twelve = 0; twelve < 4096; twelve += 1) {
    value.writeUInt16BE(twelve << 4)
    const [pair = 0] = pairsOf(Buffer.from(value.toString('base64').slice(0, 2), 'latin1'))
    bits[pair] = twelve
  }
  return bits
}

async function lastLineFault(line: Buffer, copy: CopyReader): Promise<string | null> {
  if (line.length === 0) return null
  const text = line.toString('latin1')
  const decoded = Buffer.from(text, 'base64')
  if (`${decoded.toString('base64')}\r\n` !== text) return 'the last line of the attachment is not base64'
  const expected = await copy.take(decoded.length, decoded.length)
  return expected !== null && decoded.equals(expected) ? null : 'the attachment is not the sealed copy'
}

function codedSize(size: number): number {
  const rest = size % PLAIN
  return Math.floor(size / PLAIN) * LINE + (rest === 0 ? 0 : Math.ceil(rest / 3) * 4 + 2)
}

type CopyReader = {
  /** The next octets, a multiple of `unit`, at least that and at most `most`; null if there are fewer. */
  take(unit: number, most: number): Promise<Uint8Array | null>
  ended(): Promise<boolean>
}

function createCopyReader(sealed: SealedCopy): CopyReader {
  const chunks = sealed.chunks()[Symbol.asyncIterator]()
  const none = new Uint8Array()
  let held: Uint8Array = none
  let next: Uint8Array = none
  const more = async (): Promise<boolean> => {
    while (next.length === 0) {
      // A part of the piece before, which was only lent.
      held = Uint8Array.from(held)
      const got = await chunks.next()
      if (got.done === true) return false
      next = got.value
    }
    return true
  }
  return {
    async take(unit, most) {
      while (held.length < unit) {
        if (!(await more())) return null
        // Only the little that is missing is copied.
        const lent = held.length === 0 ? next.length : Math.min(unit - held.length, next.length)
        held = held.length === 0 ? next : Buffer.concat([held, next.subarray(0, lent)])
        next = next.subarray(lent)
      }
      const length = Math.min(most, held.length - (held.length % unit))
      const taken = held.subarray(0, length)
      held = held.subarray(length)
      return taken
    },
    ended: async () => held.length === 0 && !(await more()),
  }
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
