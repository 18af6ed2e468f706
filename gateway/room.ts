/** Memory that large messages may fill together; what finds no room goes to disk. */
export type Room = {
  /** A place for octets of one message, which takes at most `most` of them. */
  hold(most: number): Held
}

export type Held = {
  /** Octets held. */
  readonly size: number
  /** Keeps the octets, long ones without copying them: they must not be overwritten. False, with nothing kept, where there is no room for them. */
  add(octets: Uint8Array): boolean
  /** The octets from that offset on, as often as asked. Rejects once they are released. */
  read(from: number): AsyncIterable<Uint8Array>
  /** Gives memory and room back; may be called again. */
  release(): void
}

/** So many pieces are made one where they are short: an object for each of them costs far more than its octets. */
const PIECES = 64
const SHORT = 16 * 1024

/** A room for so many octets. */
export function createRoom(octets: number): Room {
  let left = octets
  return {
    hold(most) {
      let size = 0
      let whole: Uint8Array[] = []
      let loose: Uint8Array[] = []
      let released = false

      function stillHeld(): void {
        if (released) throw new Error('the octets of this message are no longer held')
      }

      async function* read(from: number): AsyncGenerator<Uint8Array> {
        stillHeld()
        let at = 0
        for (const piece of [...whole, ...loose]) {
          stillHeld()
          if (at + piece.length > from) yield at < from ? piece.subarray(from - at) : piece
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
          size += piece.length
          loose.push(piece)
          if (loose.length < PIECES) return true
          for (const one of gathered(loose)) whole.push(one)
          loose = []
          return true
        },
        read,
        release() {
          if (released) return
          released = true
          left += size
          size = 0
          whole = []
          loose = []
        },
      }
    },
  }
}

function gathered(pieces: Uint8Array[]): Uint8Array[] {
  const total = pieces.reduce((sum, piece) => sum + piece.length, 0)
  return total < PIECES * SHORT ? [Buffer.concat(pieces, total)] : pieces
}
