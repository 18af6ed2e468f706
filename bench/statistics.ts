/** The value below which the share `part` (0 to 1) of the samples lies, by nearest rank; NaN of none. The samples need no order. */
export function percentile(samples: readonly number[], part: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(part * sorted.length) - 1))] ?? Number.NaN
}

/** The middle of the samples, between the two middle ones where their number is even; NaN of none. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2
}

/** How many times were measured, and in what time, milliseconds, half and 99 of 100 of them were done. */
export type Latency = { readonly count: number; readonly p50: number; readonly p99: number }

/** `times` in milliseconds. */
export function latencyOf(times: readonly number[]): Latency {
  return { count: times.length, p50: round(percentile(times, 0.5)), p99: round(percentile(times, 0.99)) }
}

/** Three significant digits: more would pretend. */
export function round(value: number): number {
  return Number(value.toPrecision(3))
}
