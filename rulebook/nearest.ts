/** The known name that is closest to what was written, or null if none is close: at most a third of its letters differ. */
export function nearest(written: string, known: Iterable<string>): string | null {
  let best: string | null = null
  let fewest = Number.POSITIVE_INFINITY
  const short = written.slice(0, 64).toLowerCase()
  for (const name of known) {
    const edits = distance(short, name.toLowerCase())
    if (edits < fewest && edits <= Math.max(2, Math.floor(name.length / 3))) {
      best = name
      fewest = edits
    }
  }
  return best
}

/** Levenshtein's distance: letters to insert, drop or change. */
function distance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const line = [row]
    for (let column = 1; column <= b.length; column++) {
      const change = (above[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      line.push(Math.min(change, (above[column] ?? 0) + 1, (line[column - 1] ?? 0) + 1))
    }
    above = line
  }
  return above[b.length] ?? 0
}
