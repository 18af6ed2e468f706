/**
 * The content of DATA (RFC 5321 4.1.1.4, 4.5.2) read octet by octet: only CRLF ends a line, only CRLF.CRLF ends the message, and a dot is
 * removed only behind a CRLF. A bare CR or LF (RFC 5321 2.3.8) is found here, before anything is un-stuffed, so that no two
 * servers can disagree about where a message ends.
 */

export type BareNewline = { readonly kind: 'CR' | 'LF'; readonly line: number }

export type DataScan = {
  /**
   * The next octets. `pieces` are content (parts of `chunk` where possible); `end` is where the chunk goes on with the next command, or -1
   * while the message has not ended.
   */
  feed(chunk: Uint8Array): { readonly pieces: readonly Uint8Array[]; readonly end: number }
  /** The first bare newline, or null. When they are refused, no more pieces come after it. */
  fault(): BareNewline | null
}

const CR = 0x0d
const LF = 0x0a
const DOT = 0x2e
const CRLF = Uint8Array.of(CR, LF)
const NO_WORDS = new Int32Array(0)

/** Behind a CRLF; in a line; behind its CR; behind a dot that begins a line; behind such a dot and a CR. */
const states = { lineStart: 0, text: 1, cr: 2, dot: 3, dotCr: 4 } as const
type State = (typeof states)[keyof typeof states]
const { lineStart, text, cr, dot, dotCr } = states

/** `normalise` makes a CRLF of every bare LF, and of every run of CRs. */
export function createDataScan(bareNewlines: 'refuse' | 'normalise'): DataScan {
  let state: State = lineStart
  let line = 1
  let fault: BareNewline | null = null

  function found(kind: 'CR' | 'LF'): void {
    fault ??= { kind, line }
  }

  function scan(chunk: Uint8Array): { pieces: Uint8Array[]; end: number } {
    const pieces: Uint8Array[] = []
    const words = wordsOf(chunk)
    // Content from here on is not in `pieces` yet.
    let from = 0
    const emit = (to: number) => {
      if (to > from) pieces.push(chunk.subarray(from, to))
    }
    let at = 0
    while (at < chunk.length) {
      const octet = chunk[at]
      if (state === lineStart) {
        if (octet === DOT) {
          emit(at)
          from = ++at
          state = dot
        } else state = text
      } else if (state === text) {
        at = skipText(chunk, words, at)
        if (at === chunk.length) break
        if (chunk[at] === CR && chunk[at + 1] === LF && at + 2 < chunk.length && chunk[at + 2] !== DOT) {
          // What nearly every line does, without the way through the states.
          line += 1
          at += 2
          continue
        }
        if (chunk[at] === CR) state = cr
        else {
          found('LF')
          emit(at)
          pieces.push(CRLF)
          from = at + 1
        }
        at += 1
      } else if (state === cr) {
        if (octet === LF) {
          // The CR was the last octet of the chunk before, which held it back.
          if (at === 0) pieces.push(CRLF)
          if (at === 0) from = 1
          line += 1
          state = lineStart
          at += 1
          continue
        }
        found('CR')
        emit(at - 1)
        from = at
        if (octet === CR) at += 1
        else {
          pieces.push(CRLF)
          state = text
        }
      } else if (state === dot) {
        from = at
        if (octet === CR) {
          state = dotCr
          at += 1
        } else state = text
      } else {
        if (octet === LF) return { pieces, end: at + 1 }
        from = at
        state = cr
      }
    }
    emit(state === cr || state === dotCr ? chunk.length - 1 : chunk.length)
    return { pieces, end: -1 }
  }

  return {
    feed(chunk) {
      const { pieces, end } = scan(chunk)
      return { pieces: fault !== null && bareNewlines === 'refuse' ? [] : pieces, end }
    },
    fault: () => fault,
  }
}

/** The octets of a chunk four at a time, but for the few before the first whole word of memory and behind the last. */
type Words = { readonly words: Int32Array; readonly lead: number }

function wordsOf(chunk: Uint8Array): Words {
  const lead = -chunk.byteOffset & 3
  const length = Math.max(0, chunk.length - lead) >> 2
  return { words: length === 0 ? NO_WORDS : new Int32Array(chunk.buffer, chunk.byteOffset + lead, length), lead }
}

/** In the middle of a line: where it is left, `chunk.length` if nowhere. Most of a large mail's time here is spent in these loops. */
function skipText(chunk: Uint8Array, { words, lead }: Words, from: number): number {
  let at = from
  while (at < chunk.length) {
    const octet = chunk[at]
    if (octet === CR || octet === LF) return at
    at += 1
    if (at < lead || ((at - lead) & 3) !== 0) continue
    let word = (at - lead) >> 2
    while (word < words.length && !holdsControl(words[word] ?? 0)) word += 1
    at = lead + 4 * word
  }
  return at
}

/** Whether one of the four octets is below 0x0e: CR, LF, or rarely something else. In whatever order the machine keeps them. */
function holdsControl(word: number): boolean {
  return ((word - 0x0e0e0e0e) & ~word & 0x80808080) !== 0
}
