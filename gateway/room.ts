import { giveBack, type Lent } from '../envelope/lent.ts'

/** Memory that large messages may fill together; what finds no room goes to disk. */
export type Room = {
  /** A place for octets of one message, which takes at most `most` of them. */
  hold(most: number): Held
}

export type Held = {
  /** Octets held. */
  readonly size: number
  /** Keeps a copy of the octets. False, with nothing kept, where there is no room for them. */
  add(octets: Uint8Array): boolean
  /** The octets from that offset on, as often as asked. Rejects once they are released, in the middle and at the end of a reading as well. */
  read(from: number): Lent
  /** Gives memory and room back; may be called again. */
  release(): void
}

/** Octets of a piece of memory. */
const BLOCK = 128 * 1024

/** A room for so many octets. */
export function createRoom(octets: number): Room {
  let left = octets
  return {
    hold(most) {
      let size = 0
      let blocks: Buffer[] = []
      let released = false

      function stillHeld(): void {
        if (released) throw new Error('the octets of this message are no longer held')
      }

      function copy(piece: Uint8Array): void {
        for (let at = 0; at < piece.length; ) {
          const within = size % BLOCK
          if (within === 0) blocks.push(Buffer.allocUnsafeSlow(BLOCK))
          const part = piece.subarray(at, at + BLOCK - within)
          blocks.at(-1)?.set(part, within)
          size += part.length
          at += part.length
        }
      }

      async function* read(from: number): AsyncGenerator<Uint8Array> {
        stillHeld()
        for (let at = from; at < size; ) {
          const within = at % BLOCK
          const piece = blocks[(at - within) / BLOCK]?.subarray(within, within + size - at) ?? NOTHING
          yield piece
          // Whoever has read to the end has read all: what is released meanwhile is never taken for something shorter.
          stillHeld()
          at += piece.length
        }
      }

      return {
        get size() {
          return size
        },
        add(piece) {
          if (released || piece.length > left || size + piece.length > most) return false
          left -= piece.length
          copy(piece)
          return true
        },
        read,
        release() {
          if (released) return
          released = true
          left += size
          size = 0
          for (const block of blocks) giveBack(block)
          blocks = []
        },
      }
    },
  }
}

const NOTHING = new Uint8Array()
