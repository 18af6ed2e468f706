import type { SealedCopy } from './sealing.ts'

const LINE = 78
const CODED = 76
const PLAIN = 57

/**
 * Passes on what is base64 of exactly the sealed copy, in lines of 76 characters, and behind it exactly `tail`. A string in its output names what
 * was found instead; nothing follows it.
 */
export async function* watchBase64(
  stream: AsyncIterable<Uint8Array>,
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
    held = held.subarray(block.length)
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
  if (block.length === 0) return null
  const lines = block.length / LINE
  for (let end = CODED; end < block.length; end += LINE) {
    if (block[end] !== 0x0d || block[end + 1] !== 0x0a) return 'a line of the attachment has the wrong length'
  }
  // The decoder also takes the URL alphabet, which base64 in mail must not use, and passes over all that is no base64: then it comes out shorter.
  if (block.includes(0x2d) || block.includes(0x5f)) return 'the attachment is not base64'
  const decoded = Buffer.from(block.toString('latin1'), 'base64')
  const expected = await copy.take(lines * PLAIN)
  return expected !== null && decoded.equals(expected) ? null : 'the attachment is not the sealed copy'
}

async function lastLineFault(line: Buffer, copy: CopyReader): Promise<string | null> {
  if (line.length === 0) return null
  const text = line.toString('latin1')
  const decoded = Buffer.from(text, 'base64')
  if (`${decoded.toString('base64')}\r\n` !== text) return 'the last line of the attachment is not base64'
  const expected = await copy.take(decoded.length)
  return expected !== null && decoded.equals(expected) ? null : 'the attachment is not the sealed copy'
}

function codedSize(size: number): number {
  const rest = size % PLAIN
  return Math.floor(size / PLAIN) * LINE + (rest === 0 ? 0 : Math.ceil(rest / 3) * 4 + 2)
}

type CopyReader = {
  /** The next `length` octets; null if there are fewer. */
  take(length: number): Promise<Uint8Array | null>
  ended(): Promise<boolean>
}

function createCopyReader(sealed: SealedCopy): CopyReader {
  const chunks = sealed.chunks()[Symbol.asyncIterator]()
  let held: Uint8Array = new Uint8Array()
  const more = async (): Promise<boolean> => {
    const next = await chunks.next()
    if (next.done === true) return false
    held = held.length === 0 ? next.value : Buffer.concat([held, next.value])
    return true
  }
  return {
    async take(length) {
      while (held.length < length) if (!(await more())) return null
      const taken = held.subarray(0, length)
      held = held.subarray(length)
      return taken
    },
    async ended() {
      while (held.length === 0) if (!(await more())) return true
      return false
    },
  }
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
