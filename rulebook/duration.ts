const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }

/** The longest duration that is read: ten years of 366 days, seconds. */
export const LONGEST = 10 * 366 * 86_400

/**
 * Seconds in a duration such as `30d`, `12h`, `90m`, `45s` or `2w`: one whole number and one unit, in either case, blanks
 * around it allowed. Null for anything else, for zero, and for more than ten years.
 */
export function parseDuration(text: string): number | null {
  const found = /^[ \t]{0,16}([0-9]{1,10})([smhdw])[ \t]{0,16}$/i.exec(text)
  const unit = UNITS[found?.[2]?.toLowerCase() ?? '']
  if (unit === undefined) return null
  const seconds = Number(found?.[1]) * unit
  return seconds > 0 && seconds <= LONGEST ? seconds : null
}

/** The shortest exact way to write `seconds` as {@link parseDuration} reads it: 86400 gives `1d`. */
export function formatDuration(seconds: number): string {
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
  ] as const) {
    if (seconds >= size && seconds % size === 0) return `${seconds / size}${unit}`
  }
  return `${seconds}s`
}
