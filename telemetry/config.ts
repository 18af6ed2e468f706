import { type Static, Type } from '@sinclair/typebox'

/** The entry `telemetry` of both configurations. */
export const TelemetryEntry = Type.Object(
  {
    traces: Type.String({
      pattern: '^https?://[^/?#@\\s]+(?:/[^?#\\s]*)?$',
      description: 'the address of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318',
    }),
    service: Type.Optional(
      Type.String({ pattern: '^[\\w.-]{1,64}$', description: 'up to 64 letters, digits, dots and hyphens' }),
    ),
    share: Type.Optional(Type.Number({ minimum: 0, maximum: 1, description: 'a share of the messages, from 0 to 1' })),
  },
  { additionalProperties: false, description: 'traces, and with it service or share' },
)

export type TelemetryConfig = {
  /** Where spans are posted. */
  readonly url: string
  readonly service: string
  /** Of the traces that begin here. */
  readonly share: number
}

/** Null: nothing is measured. A collector's address without a path gets the path of OTLP. */
export function telemetryOf(entry: Static<typeof TelemetryEntry> | undefined, service: string): TelemetryConfig | null {
  if (entry === undefined) return null
  const url = new URL(entry.traces)
  if (url.pathname === '/') url.pathname = '/v1/traces'
  return { url: url.href, service: entry.service ?? service, share: entry.share ?? 1 }
}
