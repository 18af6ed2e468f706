import type { TelemetryConfig } from './config.ts'
import { noTracer, type Tracer } from './tracer.ts'

/** The tracer of a process. Without configuration no package of OpenTelemetry is even loaded. `tell` gets sentences for the log. */
export async function openTelemetry(config: TelemetryConfig | null, tell: (message: string) => void): Promise<Tracer> {
  if (config === null) return noTracer
  const { createOtlpTracer } = await import('./otlp.ts')
  return createOtlpTracer(config, tell)
}
