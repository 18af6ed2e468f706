import { type DestinationStream, type Level, pino } from 'pino'

/**
 * All that a line of the log may say. Nothing of a message's content has a place here: no subject, no body, no header field, no address
 * of a person, no key, no token.
 */
export type LogFields = {
  readonly org?: string
  readonly intake?: string
  readonly incident?: string
  readonly envelope?: string
  readonly listener?: string
  /** Network address of a client. */
  readonly client?: string
  readonly reason?: string
  readonly code?: number
  readonly status?: string
  readonly verdict?: string
  readonly rule?: string
  /** With `rule`: the verdict of a rule that only observes. */
  readonly would?: string
  readonly outcome?: string
  readonly recipients?: number
  readonly size?: number
  readonly ms?: number
  readonly hash?: string
  readonly count?: number
  readonly file?: string
  readonly place?: string
  readonly cause?: unknown
}

export type Log = Readonly<Record<'debug' | 'info' | 'warn' | 'error', (event: string, fields?: LogFields) => void>>

const names = [
  ...[
    'org',
    'intake',
    'incident',
    'envelope',
    'listener',
    'client',
    'reason',
    'code',
    'status',
    'verdict',
    'rule',
    'would',
  ],
  ...['outcome', 'recipients', 'size', 'ms', 'hash', 'count', 'file', 'place'],
] as const

/** JSON lines to `destination`. A field that is not in {@link LogFields} is left out, whoever passes it. */
export function createLog(level: Level | 'silent', destination: DestinationStream): Log {
  const logger = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: levelOf } },
    destination,
  )
  const at =
    (kind: keyof Log) =>
    (event: string, fields: LogFields = {}) => {
      if (logger.isLevelEnabled(kind)) logger[kind](allowed(fields), event)
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function levelOf(label: string): { level: string } {
  return { level: label }
}

function allowed(fields: LogFields): Record<string, unknown> {
  const given: Readonly<Record<string, unknown>> = fields
  const kept: Record<string, unknown> = {}
  for (const name of names) {
    const value = given[name]
    if (typeof value === 'number') kept[name] = value
    else if (typeof value === 'string') kept[name] = value.slice(0, 512)
  }
  if (fields.cause !== undefined) kept.cause = causeOf(fields.cause)
  return kept
}

/** Class, code and message of an error and of those behind it. */
function causeOf(cause: unknown): string {
  const said: string[] = []
  for (let error = cause; error instanceof Error && said.length < 4; error = error.cause) {
    const code = 'code' in error && typeof error.code === 'string' ? ` ${error.code}` : ''
    said.push(`${error.name}${code}: ${error.message.slice(0, 256)}`)
  }
  return said.length > 0 ? said.join(' < ') : typeof cause
}
