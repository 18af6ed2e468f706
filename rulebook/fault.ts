/** What is wrong in a policy file, and where. Lines and columns count from 1, columns in UTF-16 code units. */
export type Fault = {
  readonly file: string
  readonly line: number
  readonly column: number
  /** What is wrong, in plain words. */
  readonly message: string
  /** What to write instead. */
  readonly hint: string
}

/** A fault whose place is still an offset into the file's text. */
export type Spot = { readonly offset: number; readonly message: string; readonly hint: string }

/** Places for spots: sorted from top to bottom, at most `most` of them. */
export function placed(spots: readonly Spot[], text: string, file: string, most = 100): Fault[] {
  const starts = lineStarts(text)
  return [...spots]
    .sort((a, b) => a.offset - b.offset)
    .slice(0, most)
    .map(({ offset, message, hint }) => {
      const at = Math.min(Math.max(offset, 0), text.length)
      const line = lineOf(starts, at)
      return { file, line, column: at - (starts[line - 1] ?? 0) + 1, message, hint }
    })
}

function lineStarts(text: string): number[] {
  const starts = [0]
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return starts
}

function lineOf(starts: readonly number[], offset: number): number {
  let low = 0
  let high = starts.length
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if ((starts[middle] ?? 0) <= offset) low = middle
    else high = middle
  }
  return low + 1
}
