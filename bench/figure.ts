/** What was measured, in words that a table can hold. */
export type Figure = {
  readonly name: string
  readonly unit: string
  readonly ours: number
  /** Of Postfix doing the same with the untouched mail; null where there is nothing to compare with. */
  readonly postfix: number | null
  /** What is to be reached, null where it is only reported. */
  readonly target: Target | null
  /** What else is worth knowing, such as latencies. */
  readonly note: string
}

/** `of` says whether `ours` itself or its ratio to Postfix's figure is meant. */
export type Target = { readonly of: 'figure' | 'ratio'; readonly kind: 'least' | 'most'; readonly value: number }

/** Ours in parts of Postfix's, null without one. */
export function ratioOf({ ours, postfix }: Pick<Figure, 'ours' | 'postfix'>): number | null {
  return postfix === null || postfix === 0 ? null : ours / postfix
}

/** Whether the target is reached; null where there is none, or nothing to hold against it. */
export function isReached(figure: Figure): boolean | null {
  const { target, ours } = figure
  if (target === null) return null
  const value = target.of === 'figure' ? ours : ratioOf(figure)
  if (value === null) return null
  return target.kind === 'least' ? value >= target.value : value <= target.value
}

/** The figures as a table that can be read in a terminal and pasted into Markdown. */
export function tableOf(figures: readonly Figure[]): string {
  const head = ['what', 'Sealpost', 'Postfix', 'ratio', 'target', 'note']
  const rows = figures.map((figure) => [
    figure.name,
    `${show(figure.ours)} ${figure.unit}`.trim(),
    figure.postfix === null ? '' : `${show(figure.postfix)} ${figure.unit}`.trim(),
    ratioOf(figure)?.toFixed(2) ?? '',
    targetInWords(figure),
    figure.note,
  ])
  const widths = head.map((_, column) => Math.max(3, ...[head, ...rows].map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

function targetInWords(figure: Figure): string {
  const { target } = figure
  if (target === null) return ''
  const reached = isReached(figure)
  const words = `${target.kind === 'least' ? '≥' : '≤'} ${target.value}${target.of === 'ratio' ? ' of Postfix' : ''}`
  if (reached === null) return words
  return `${words}: ${reached ? 'reached' : 'missed'}`
}

function show(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))
}
