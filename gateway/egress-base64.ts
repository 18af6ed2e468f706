import type { Lent } from '../envelope/lent.ts'
import type { SealedCopy } from './sealing.ts'

const LINE = 78
const PLAIN = 57
/** No value of 12 bits, and so none of 24 bits either. */
const NO_PAIR = 0xf000
const NO_BITS = NO_PAIR << 12
const BITS = bitsOfPairs()
const LINE_END = 0x0d0a

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
  for (let at = 0; at < block.length; ) {
    const expected = await copy.take(PLAIN, ((block.length - at) / LINE) * PLAIN)
    if (expected === null) return 'the attachment is not the sealed copy'
    const length = (expected.length / PLAIN) * LINE
    const fault = compare(block.subarray(at, at + length), expected)
    if (fault !== null) return fault
    at += length
  }
  return null
}

/** Whether the lines decode to these octets, of which there are whole lines. */
function compare(lines: Uint8Array, expected: Uint8Array): string | null {
  const [text, octets] = [viewOf(lines), viewOf(expected)]
  let at = 0
  let different = 0
  let seen = 0
  for (let octet = 0; octet < expected.length; octet += PLAIN) {
    // Four octets at once are quicker than three: of the first the last is passed over, of the others the first, as behind the end there is none.
    const first = bitsAt(text, at)
    seen |= first
    different |= first ^ (octets.getUint32(octet) >>> 8)
    at += 4
    for (let group = octet + 3; group < octet + PLAIN; group += 3) {
      const bits = bitsAt(text, at)
      seen |= bits
      different |= bits ^ (octets.getUint32(group - 1) & 0xffffff)
      at += 4
    }
    if (text.getUint16(at) !== LINE_END) return 'a line of the attachment has the wrong length'
    at += 2
  }
  if ((seen & NO_BITS) !== 0) return 'the attachment is not base64'
  return different === 0 ? null : 'the attachment is not the sealed copy'
}

/** The 24 bits of four characters; with {@link NO_BITS} among them where one of them is no base64. */
function bitsAt(text: DataView, at: number): number {
  const four = text.getUint32(at)
  const low = BITS[four & 0xffff] ?? NO_PAIR
  return ((BITS[four >>> 16] ?? NO_PAIR) << 12) | (low & 0xfff) | ((low & NO_PAIR) << 12)
}

function viewOf(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.length)
}

/** The 12 bits of two characters, the first one high; the URL's alphabet is not base64 in mail. */
function bitsOfPairs(): Uint16Array {
  const bits = new Uint16Array(65_536).fill(NO_PAIR)
  const value = Buffer.alloc(2)
  for (let twelve = 0; twelve < 4096; twelve += 1) {
    value.writeUInt16BE(twelve << 4)
    bits[Buffer.from(value.toString('base64').slice(0, 2), 'latin1').readUInt16BE()] = twelve
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
