import { gatewayErrorCodes } from './error.ts'

/** What the ops listener counts. */
export type Metrics = {
  /** Messages whose whole content came in. */
  accepted(): void
  /** Recipients, by what became of their copy. */
  outcome(kind: 'sent' | 'deferred' | 'failed' | 'unknown', count: number): void
  /** Recipients for whom the next hop found a mail too large, and to whom it goes by link. */
  byLink(count: number): void
  /** Deliveries where an API is configured, by the way that they take. */
  way(by: 'graph' | 'gmail' | 'smtp'): void
  /** Commands and messages that were not answered 2xx, by reason. */
  refused(reason: string): void
  /** Recipients for whom a rule that only observes would have decided. */
  observed(org: string, rule: string, count: number): void
  /** Messages that a scanner was asked about, by what it said; `failed`: nothing. */
  scanned(verdict: string): void
  /** From the dot to the reply, seconds; begun with the returned function's making, ended by calling it. */
  started(): () => void
  /** Messages between dot and reply. */
  inFlight(): number
  /** An outgoing mail that the last look stopped. */
  alarm(): void
  /** Prometheus text format 0.0.4. */
  render(): string
}

/** Upper bounds of the histogram, seconds. */
const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export function createMetrics(clock: () => number = () => performance.now()): Metrics {
  const outcomes = new Map<string, number>()
  const ways = new Map<string, number>()
  // From nought: where a series begins with its first event, Prometheus sees no increase.
  const refusals = new Map<string, number>(gatewayErrorCodes.map((reason) => [reason, 0]))
  const observations = new Map<string, number>()
  const scans = new Map<string, number>()
  const counts = buckets.map(() => 0)
  let accepted = 0
  let alarms = 0
  let byLink = 0
  let inFlight = 0
  let sum = 0
  let total = 0

  function observe(seconds: number): void {
    sum += seconds
    total += 1
    for (const [index, bound] of buckets.entries()) if (seconds <= bound) counts[index] = (counts[index] ?? 0) + 1
  }

  return {
    accepted: () => {
      accepted += 1
    },
    outcome: (kind, count) => add(outcomes, kind, count),
    byLink: (count) => {
      byLink += count
    },
    way: (by) => add(ways, by, 1),
    refused: (reason) => add(refusals, reason, 1),
    observed: (org, rule, count) => add(observations, `{org="${org}",rule="${rule}"}`, count),
    scanned: (verdict) => add(scans, verdict, 1),
    alarm: () => {
      alarms += 1
    },
    started() {
      const begin = clock()
      inFlight += 1
      return () => {
        inFlight -= 1
        observe((clock() - begin) / 1000)
      }
    },
    inFlight: () => inFlight,
    render() {
      return [
        ...family('sealpost_gateway_accepted_total', 'counter', 'Messages whose whole content came in.', [
          ['', accepted],
        ]),
        ...family(
          'sealpost_gateway_recipients_total',
          'counter',
          'Recipients by outcome.',
          labelled('outcome', outcomes),
        ),
        ...family(
          'sealpost_gateway_by_link_total',
          'counter',
          'Recipients whose mail the next hop found too large, and to whom it goes by link.',
          [['', byLink]],
        ),
        ...family(
          'sealpost_gateway_ways_total',
          'counter',
          'Deliveries of organizations with an API, by the way they took.',
          labelled('way', ways),
        ),
        ...family('sealpost_gateway_refused_total', 'counter', 'Refusals by reason.', labelled('reason', refusals)),
        ...family(
          'sealpost_gateway_observed_total',
          'counter',
          'Recipients for whom a rule that only observes would have decided.',
          [...observations],
        ),
        ...family(
          'sealpost_gateway_scans_total',
          'counter',
          'Messages by what the scanner said.',
          labelled('verdict', scans),
        ),
        ...family('sealpost_gateway_egress_alarms_total', 'counter', 'Mails that the last look stopped.', [
          ['', alarms],
        ]),
        ...family('sealpost_gateway_in_flight', 'gauge', 'Messages between dot and reply.', [['', inFlight]]),
        ...family('sealpost_gateway_duration_seconds', 'histogram', 'From dot to reply.', [
          ...buckets.map((bound, index): Sample => [`_bucket{le="${bound}"}`, counts[index] ?? 0]),
          ['_bucket{le="+Inf"}', total],
          ['_sum', sum],
          ['_count', total],
        ]),
        '',
      ].join('\n')
    },
  }
}

type Sample = readonly [suffix: string, value: number]

function add(counts: Map<string, number>, key: string, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count)
}

function labelled(label: string, counts: ReadonlyMap<string, number>): Sample[] {
  return [...counts].map(([key, count]) => [`{${label}="${key}"}`, count])
}

function family(name: string, type: string, help: string, samples: readonly Sample[]): string[] {
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples.map(([suffix, value]) => `${name}${suffix} ${value}`),
  ]
}
