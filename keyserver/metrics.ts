/** Counters and one kind of histogram, in the Prometheus text format. Label values are from closed sets: never a person's or a client's own text. */
export interface Metrics {
  count(name: CounterName, labels?: Readonly<Record<string, string>>, by?: number): void
  /** Seconds. */
  observe(name: HistogramName, seconds: number): void
  render(): string
}

export type CounterName = keyof typeof counters
export type HistogramName = keyof typeof histograms

const counters = {
  sealpost_issued_total: 'Envelopes issued, by verdict.',
  sealpost_confirmed_total: 'Deliveries confirmed.',
  sealpost_holds_total: 'Mails held, let go and sent back, by event.',
  sealpost_outcomes_total: 'Outcomes reported, by outcome.',
  sealpost_releases_total: 'Keys released.',
  sealpost_refusals_total: 'Requests refused, by code.',
  sealpost_codes_total: 'One-time codes mailed, by result.',
  sealpost_shredded_total: 'Envelope secrets destroyed.',
} as const

const histograms = {
  sealpost_release_seconds: 'From the request for a release to its answer.',
} as const

const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

type Histogram = { readonly buckets: number[]; sum: number; count: number }

export function createMetrics(): Metrics {
  // From nought: where a series begins with its first event, Prometheus sees no increase.
  const codes = ['sent', 'failed', 'full'].map((result): [string, number] => [labelText({ result }), 0])
  const counts = new Map<CounterName, Map<string, number>>([['sealpost_codes_total', new Map(codes)]])
  const seen = new Map<HistogramName, Histogram>()

  return {
    count: (name, labels = {}, by = 1) => {
      const series = counts.get(name) ?? new Map<string, number>()
      counts.set(name, series)
      const key = labelText(labels)
      series.set(key, (series.get(key) ?? 0) + by)
    },
    observe: (name, seconds) => {
      const histogram = seen.get(name) ?? { buckets: bounds.map(() => 0), sum: 0, count: 0 }
      seen.set(name, histogram)
      for (const [i, bound] of bounds.entries()) {
        if (seconds <= bound) histogram.buckets[i] = (histogram.buckets[i] ?? 0) + 1
      }
      histogram.sum += seconds
      histogram.count += 1
    },
    render: () => {
      const lines: string[] = []
      for (const [name, help] of Object.entries(counters)) {
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} counter`)
        const series = counts.get(name as CounterName)
        if (series === undefined) lines.push(`${name} 0`)
        for (const [labels, value] of series ?? []) lines.push(`${name}${labels} ${value}`)
      }
      for (const [name, help] of Object.entries(histograms)) {
        lines.push(
          `# HELP ${name} ${help}`,
          `# TYPE ${name} histogram`,
          ...histogramLines(name, seen.get(name as HistogramName)),
        )
      }
      return `${lines.join('\n')}\n`
    },
  }
}

function histogramLines(name: string, histogram: Histogram | undefined): readonly string[] {
  const count = histogram?.count ?? 0
  return [
    ...bounds.map((bound, i) => `${name}_bucket{le="${bound}"} ${histogram?.buckets[i] ?? 0}`),
    `${name}_bucket{le="+Inf"} ${count}`,
    `${name}_sum ${histogram?.sum ?? 0}`,
    `${name}_count ${count}`,
  ]
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, '_')}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}
