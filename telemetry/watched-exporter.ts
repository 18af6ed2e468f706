import { type ExportResult, ExportResultCode } from '@opentelemetry/core'
import type { SpanExporter } from '@opentelemetry/sdk-trace'

/** The exporter, with a word to `tell` when the collector begins to take nothing, and when it takes spans again. */
export function watchExporter(exporter: SpanExporter, tell: (message: string) => void): SpanExporter {
  let taken = true
  const note = (result: ExportResult) => {
    const now = result.code === ExportResultCode.SUCCESS
    if (now === taken) return
    taken = now
    tell(
      now
        ? 'the collector takes traces again'
        : 'the collector takes no traces: they are dropped; mail is not held up by it',
    )
  }
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        note(result)
        done(result)
      }),
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  }
}
