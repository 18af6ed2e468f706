import { readFileSync } from 'node:fs'
import { type Note, parseNote, parseVerifierKey, type VerifierKey } from '../audit/checkpoint.ts'
import { type LogSource, UnreadableError } from '../audit/source.ts'
import { belongsTo, type LogReport, verifyLog } from '../audit/verify.ts'
import { KEYS_RECORDED, reportLines } from '../audit/words.ts'
import { systemFault } from '../protocol/system-fault.ts'
import { exits } from './io.ts'

/** Lines out, lines of complaint, and a line that is written over (null where nobody watches). */
export type AuditIo = {
  out(line: string): void
  err(line: string): void
  readonly progress: ((text: string) => void) | null
}

export type VerifyValues = {
  readonly log?: string | undefined
  /** Verifier keys, or files with one on each line. */
  readonly key?: readonly string[] | undefined
  /** Files with a checkpoint that was kept elsewhere. */
  readonly against?: readonly string[] | undefined
  readonly json?: boolean | undefined
}

/** `sealpost audit verify`: 0 if every log that was looked at is as it was signed, 1 if not. Throws {@link UnreadableError}. */
export function verify(logs: readonly LogSource[], values: VerifyValues, io: AuditIo): number {
  const keys = values.key?.flatMap(readKeys) ?? null
  const against = (values.against ?? []).map(readCheckpoint)
  const wanted = logs.filter(
    ({ log }) => (values.log ?? log) === log && (keys === null || keys.some((key) => belongsTo(key.name, log))),
  )
  const missing = missingLogs(wanted, logs, keys, against, values.log)
  if (wanted.length === 0 && missing.length === 0) {
    const names = logs.map(({ log }) => log).join(', ')
    throw new UnreadableError(`there is nothing to check: no log of that name and key; there is ${names || 'none'}`)
  }
  const reports = wanted.map((log) => {
    const report = verifyLog(log, { keys, against: notesOf(log, against), ...progress(log, io) })
    io.progress?.('')
    return report
  })
  if (values.json === true) io.out(JSON.stringify(jsonReport(reports, missing), null, 2))
  else writeReports(reports, missing, logs.length - wanted.length, io)
  return missing.length > 0 || reports.some((report) => report.faults.length > 0) ? exits.failed : exits.ok
}

/**
 * Origins of logs that are gone: one that was taken away whole has left no row to be found by, and what was kept elsewhere names it. An
 * exported folder is one log by its nature, so there a key for another says nothing.
 */
function missingLogs(
  wanted: readonly LogSource[],
  logs: readonly LogSource[],
  keys: readonly VerifierKey[] | null,
  against: readonly Note[],
  name: string | undefined,
): readonly string[] {
  const isFolder = logs.some((log) => log.tile !== undefined)
  const named = isFolder ? [] : (keys ?? []).map((key) => key.name)
  const origins = new Set([...named, ...against.map((note) => note.checkpoint.origin)])
  const here = (origin: string): boolean => wanted.some(({ log }) => belongsTo(origin, log))
  return [...origins].filter((origin) => !here(origin) && (name === undefined || belongsTo(origin, name)))
}

function writeReports(reports: readonly LogReport[], missing: readonly string[], unchecked: number, io: AuditIo): void {
  for (const line of reports.flatMap(reportLines)) io.out(line)
  for (const origin of missing) io.out(`TAMPERED (log-missing): there is no log ${origin} here`)
  if (unchecked > 0) io.out(`Not checked: ${unchecked} other ${unchecked === 1 ? 'log' : 'logs'}.`)
  if (reports.some((report) => report.keysFrom === 'recorded')) io.out(KEYS_RECORDED)
}

function jsonReport(reports: readonly LogReport[], missing: readonly string[]): unknown {
  return {
    verified: missing.length === 0 && reports.every((report) => report.faults.length === 0),
    missing,
    logs: reports.map((report) => ({
      ...report,
      root: report.root === null ? null : Buffer.from(report.root).toString('base64'),
    })),
  }
}

function readKeys(given: string): readonly VerifierKey[] {
  const lines = parseVerifierKey(given) === null ? readText(given).split('\n') : [given]
  const keys = lines.filter((line) => line.trim() !== '').map(parseVerifierKey)
  const good = keys.filter((key) => key !== null)
  if (good.length === 0 || good.length < keys.length) {
    throw new UnreadableError(`${given}: it is neither a verifier key nor a file with one on each line`)
  }
  return good
}

function readCheckpoint(file: string): Note {
  const note = parseNote(readText(file))
  if (note === null) throw new UnreadableError(`${file}: it is not a signed checkpoint`)
  return note
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UnreadableError(systemFault(error, file))
  }
}

function notesOf({ log }: LogSource, notes: readonly Note[]): readonly Note[] {
  return notes.filter((note) => belongsTo(note.checkpoint.origin, log))
}

function progress({ log, size }: LogSource, io: AuditIo): { readonly progress?: (leaves: number) => void } {
  const show = io.progress
  if (show === null || size < 50_000) return {}
  return { progress: (leaves) => show(`${log}: ${leaves} of ${size} leaves`) }
}
