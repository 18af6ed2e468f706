/**
 * Where the time of one message goes, over both processes (OpenTelemetry). Who measures sees only this file: what it names is all that a span
 * can carry, so that no address, subject or token gets into a collector.
 */

/** All that a span may say of itself. */
export type Attributes = {
  readonly org?: string
  /** The rule that decided, or several. */
  readonly rule?: string
  readonly verdict?: string
  /** Octets. */
  readonly size?: number
  /** The reply to the client, of the next hop, or of the key server. */
  readonly code?: number
  readonly method?: string
  /** As the route is written: `/v1/policies/:org`. */
  readonly route?: string
}

/** What is under way, to be told of. */
export type Span = {
  note(attributes: Attributes): void
  /** It did not come out as wanted. */
  failed(): void
}

/** A place in a trace that others can be linked to; null where nothing is traced. */
export type Point = { readonly traceparent: string } | null

export type SpanOptions = {
  /** `client` and `server` are the two sides of a call. */
  readonly kind?: 'internal' | 'client' | 'server'
  /** The parent; absent: the span that runs here. */
  readonly from?: Point
  /** Others that it is done for as well. */
  readonly links?: readonly Point[]
}

/** A span that ends when it is told to. */
export type OpenSpan = Span & { end(): void }

export type Tracer = {
  /** Whether anything comes of it. */
  readonly on: boolean
  /** Runs `act` as a span; what it calls becomes part of it. A rejection marks it as failed, and goes on. */
  within<T>(name: string, attributes: Attributes, act: (span: Span) => Promise<T>, options?: SpanOptions): Promise<T>
  begin(name: string, attributes: Attributes, options?: SpanOptions): OpenSpan
  /** The span that runs here. */
  here(): Point
  /** Runs `act` as no part of what runs here: for what goes on by itself. */
  apart<T>(act: () => T): T
  /** Hands over what is left, for two seconds at most. */
  close(): Promise<void>
}

const noSpan: OpenSpan = { note: () => undefined, failed: () => undefined, end: () => undefined }

/** Measures nothing. */
export const noTracer: Tracer = {
  on: false,
  within: (_name, _attributes, act) => act(noSpan),
  begin: () => noSpan,
  here: () => null,
  apart: (act) => act(),
  close: async () => undefined,
}
