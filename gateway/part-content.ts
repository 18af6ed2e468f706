import type { AttachmentKind } from '../rulebook/index.ts'
import { kindOf, MAGIC_OCTETS } from './attachment-kind.ts'
import type { Part } from './mime-part.ts'
import type { PartBody } from './mime-parts.ts'
import { createTransferDecoder } from './transfer-decoding.ts'

/** What is told of one part by its body. */
export type PartContent = PartBody & {
  /** After the last octet. */
  finish(): { readonly kind: AttachmentKind; readonly size: number; readonly locked: boolean }
}

/**
 * Looks at the body of one part as it comes. With `whole`, all of it is decoded and `size` and `locked` are told; else only its first octets,
 * and the two stay 0 and false.
 */
export function createPartContent(part: Part, whole: boolean): PartContent {
  const decode = createTransferDecoder(part.encoding)
  const locks = createLockSearch()
  let head = Buffer.alloc(0)
  let size = 0
  return {
    write(octets) {
      if (!whole && head.length >= MAGIC_OCTETS) return
      // An encoded octet stands for no more than one, and lines are short: four times as much is enough for a start.
      const decoded = decode(whole ? octets : octets.subarray(0, 4 * MAGIC_OCTETS))
      if (head.length < MAGIC_OCTETS) head = Buffer.concat([head, decoded.subarray(0, MAGIC_OCTETS)])
      if (!whole) return
      size += decoded.length
      locks.feed(decoded)
    },
    finish() {
      const kind = kindOf(part.filename, part.type, head)
      return { kind, size, locked: head.subarray(0, 2).toString('latin1') === 'PK' && locks.found() }
    },
  }
}

const MEMBER = Buffer.from('PK\x03\x04', 'latin1')
/** Octets of a member's header up to and with its flags (APPNOTE 4.3.7). */
const MEMBER_HEAD = 8
const ENCRYPTED = 0x01

/** Looks for a member of a ZIP archive that needs a password. */
function createLockSearch() {
  let rest: Buffer = Buffer.alloc(0)
  let found = false
  return {
    found: () => found,
    feed(octets: Uint8Array): void {
      if (found) return
      const data = Buffer.concat([rest, octets])
      for (let at = data.indexOf(MEMBER); at !== -1 && at + MEMBER_HEAD <= data.length; ) {
        found ||= ((data[at + 6] ?? 0) & ENCRYPTED) !== 0
        at = data.indexOf(MEMBER, at + 1)
      }
      rest = data.subarray(Math.max(0, data.length - MEMBER_HEAD + 1))
    },
  }
}
