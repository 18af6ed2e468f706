/** The header of one part as its octets come, in time linear in their number however small the pieces are. */
export type PartHead = {
  /** Keeps a copy. How many of the octets belong to the header; the rest is the body, if it is complete. */
  add(region: Buffer): { readonly taken: number; readonly complete: boolean }
  /** It is longer than is kept: what follows would be taken for the body. */
  cut(): boolean
  /** What came so far, with the empty line that closes it. */
  octets(): Buffer
}

/** Octets; what is longer is cut, and the rest is body. */
const LIMIT = 64 * 1024
const LINE_END = Buffer.from('\r\n')
const CLOSE = Buffer.from('\r\n\r\n')

/** Whether the first octets are still the end of the line before, which is the delimiter's, or the header's own. */
export type PartHeadStart = 'at-line-end' | 'after-line'

export function createPartHead(line: PartHeadStart): PartHead {
  const pieces: Buffer[] = line === 'after-line' ? [LINE_END] : []
  let tail: Buffer = line === 'after-line' ? LINE_END : Buffer.alloc(0)
  let size = tail.length
  let cut = false

  function closedAt(region: Buffer): number {
    const seam = Buffer.concat([tail, region.subarray(0, CLOSE.length - 1)]).indexOf(CLOSE)
    if (seam !== -1) return seam + CLOSE.length - tail.length
    const inside = region.indexOf(CLOSE)
    return inside === -1 ? -1 : inside + CLOSE.length
  }

  return {
    add(region) {
      const closed = closedAt(region)
      const taken = Math.min(closed === -1 ? region.length : closed, LIMIT - size)
      const own = Buffer.from(region.subarray(0, taken))
      pieces.push(own)
      size += taken
      tail = Buffer.concat([tail, own.subarray(-CLOSE.length)]).subarray(1 - CLOSE.length)
      cut = taken !== closed && size === LIMIT
      return { taken, complete: taken === closed || cut }
    },
    cut: () => cut,
    octets: () => Buffer.concat(pieces).subarray(LINE_END.length),
  }
}
