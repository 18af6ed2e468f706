import { fields } from '../protocol/headers.ts'
import type { OutgoingMail } from './courier.ts'
import { findHeaderEnd, HEADER_LIMIT } from './header.ts'

/**
 * The mail without our loop stamp, which holds a secret between us and a provider that takes it out: where mail goes straight to strangers nobody
 * would. Its size is still said with it, which is what SIZE allows (RFC 1870 6.1: an estimate).
 */
export function unstamped(mail: OutgoingMail): OutgoingMail {
  return { ...mail, open: () => withoutStamp(mail.open()) }
}

async function* withoutStamp(mail: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array | null = new Uint8Array()
  for await (const chunk of mail) {
    if (held === null) {
      yield chunk
      continue
    }
    const from = Math.max(0, held.length - 3)
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    const end = findHeaderEnd(held, from)
    if (end === -1 && held.length <= 2 * HEADER_LIMIT) continue
    yield* cut(held, end === -1 ? held.length : end)
    held = null
  }
  if (held !== null) yield* cut(held, held.length)
}

/** The octets less the stamps among the header fields that end at `end`; what is not a stamp is not looked at. */
function cut(octets: Uint8Array, end: number): Uint8Array[] {
  const header = Buffer.from(octets.buffer, octets.byteOffset, end).toString('latin1')
  const stamp = new RegExp(`^${fields.handled}[ \\t]*:.*\\r?\\n(?:[ \\t].*\\r?\\n)*`, 'gim')
  const left: Uint8Array[] = []
  let at = 0
  for (const { index, 0: found } of header.matchAll(stamp)) {
    left.push(octets.subarray(at, index))
    at = index + found.length
  }
  return [...left, octets.subarray(at)]
}
