import { type AttachmentKind, kindByName } from '../rulebook/index.ts'
import { kindOf, looksLikeText, MAGIC_OCTETS } from './attachment-kind.ts'
import { createLockSearch } from './lock-search.ts'
import type { Part } from './mime-part.ts'
import type { PartBody } from './mime-parts.ts'
import { type PartText, readPartText } from './part-text.ts'
import { createTransferDecoder } from './transfer-decoding.ts'

/** What is to be told of one part by its body. */
export type ContentWishes = {
  /** `size` and `locked`: else they stay 0 and false. */
  readonly whole: boolean
  /** The octets that texts may still have in this message; null: no text is wanted. */
  readonly room: TextRoom | null
}

export type TextRoom = { left: number }

export type PartContent = PartBody & {
  /** After the last octet. `text`: null in a part that is none, or where it is not wanted. */
  finish(): {
    readonly kind: AttachmentKind
    readonly size: number
    readonly locked: boolean
    readonly text: PartText | null
  }
}

/** Octets that are decoded at once where only the beginning counts. An encoded one stands for no more than one, and most lines are short. */
const START = 4 * MAGIC_OCTETS

/** Looks at the body of one part as it comes; where nothing but its kind is asked for, only at its beginning. */
export function createPartContent(part: Part, { whole, room }: ContentWishes): PartContent {
  const decode = createTransferDecoder(part.encoding)
  const locks = createLockSearch()
  const text = room === null ? null : createTextKeeper(room)
  let head = Buffer.alloc(0)
  let size = 0
  /** Whether it was seen by its beginning if it is text. */
  let judged = false

  function begin(octets: Uint8Array): Uint8Array {
    const decoded = decode(octets)
    if (head.length < MAGIC_OCTETS) head = Buffer.concat([head, decoded.subarray(0, MAGIC_OCTETS - head.length)])
    return decoded
  }

  return {
    write(octets) {
      const all = whole || text?.wantsMore() === true
      if (!all && head.length >= MAGIC_OCTETS) return
      if (!all) {
        for (let at = 0; at < octets.length && head.length < MAGIC_OCTETS; at += START)
          begin(octets.subarray(at, at + START))
        return
      }
      const decoded = begin(octets)
      if (whole) {
        size += decoded.length
        locks.feed(decoded)
      }
      text?.add(decoded)
      if (judged || head.length < MAGIC_OCTETS) return
      judged = true
      if (!isText(part, head)) text?.drop()
    },
    finish() {
      const kind = kindOf(part.filename, part.type, head)
      const kept = text === null || !isText(part, head) ? null : text.finish()
      return {
        kind,
        size,
        // Something may stand before the archive: what opens it goes by its end.
        locked:
          (head.subarray(0, 2).toString('latin1') === 'PK' || kindByName(part.filename) === 'archive') && locks.found(),
        text: kept === null ? null : readPartText(part, kind, kept),
      }
    },
  }
}

/** Whether it says that it is text, by name or type, or says nothing and begins like one. */
function isText(part: Part, head: Uint8Array): boolean {
  const texts: readonly AttachmentKind[] = ['text', 'html', 'script', 'calendar']
  const said = kindOf(part.filename, part.type, NOTHING)
  if (texts.includes(said) || part.type.startsWith('text/')) return true
  return (said === 'other' || said === 'message') && looksLikeText(head)
}

const NOTHING = new Uint8Array()

/** Octets of one part's text, as long as there is room for them. */
function createTextKeeper(room: TextRoom) {
  let pieces: Uint8Array[] = []
  let kept = 0
  let cut = false
  let dropped = false
  return {
    wantsMore: () => !dropped && !cut,
    add(octets: Uint8Array): void {
      if (dropped || octets.length === 0) return
      const own = octets.subarray(0, room.left)
      cut ||= own.length < octets.length
      pieces.push(Buffer.from(own))
      kept += own.length
      room.left -= own.length
    },
    /** It is no text after all. */
    drop(): void {
      if (dropped) return
      dropped = true
      room.left += kept
      pieces = []
    },
    finish: () => ({ octets: Buffer.concat(pieces), cut }),
  }
}
