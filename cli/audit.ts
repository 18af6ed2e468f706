import { existsSync, readFileSync, statSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Note, parseNote, parseVerifierKey, type VerifierKey } from '../audit/checkpoint.ts'
import { exportLog, openLogFolder } from '../audit/export.ts'
import { decodeLeaf, envelopeOf } from '../audit/record.ts'
import { type LogSource, UnreadableError } from '../audit/source.ts'
import { openLogDatabase } from '../audit/sqlite.ts'
import { belongsTo, type LogReport, verifyLog } from '../audit/verify.ts'
import { KEYS_RECORDED, recordLine, reportLines } from '../audit/words.ts'

type Output = { write(text: string): unknown; readonly isTTY?: boolean }
type Io = { readonly stdout: Output; readonly stderr: Output }

const USAGE = `usage:
  sealpost audit verify <database or folder> [--log <org>] [--key <verifier key or file>]... [--against <checkpoint file>]... [--json]
  sealpost audit show <database or folder> [--log <org>] [--envelope <id>]
  sealpost audit checkpoint <database or folder> [--log <org>]
  sealpost audit export <database> --log <org> --to <new folder>

The database is the key server's, or a backup of it; nothing is written to it. The log of the server's own acts is called "server".
Exit status: 0 verified, 1 tampered with (it says what), 2 not readable, or wrongly called.
`

const options = {
  log: { type: 'string' },
  key: { type: 'string', multiple: true },
  against: { type: 'string', multiple: true },
  envelope: { type: 'string' },
  to: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

type Command = 'verify' | 'show' | 'checkpoint' | 'export'

const allowed: Readonly<Record<Command, readonly (keyof typeof options)[]>> = {
  verify: ['log', 'key', 'against', 'json'],
  show: ['log', 'envelope'],
  checkpoint: ['log'],
  export: ['log', 'to'],
}

class UsageError extends Error {}

/** `sealpost audit …`: checks and shows logs without a server. Answers the exit status that {@link USAGE} promises. */
export async function audit(argv: string[], io: Io): Promise<number> {
  try {
    const { command, place, values } = parse(argv)
    if (command === 'help') {
      io.stdout.write(USAGE)
      return 0
    }
    const { logs, close } = open(place)
    try {
      return run(command, logs, values, io)
    } finally {
      close()
    }
  } catch (error) {
    if (error instanceof UsageError) io.stderr.write(`${error.message}\n\n${USAGE}`)
    else if (error instanceof UnreadableError) io.stderr.write(`${error.message}\n`)
    else if (isSystemError(error)) io.stderr.write(`cannot read or write: ${error.message}\n`)
    else throw error
    return 2
  }
}

type Values = {
  readonly [K in keyof typeof options]?:
    | ((typeof options)[K] extends { multiple: true }
        ? string[]
        : (typeof options)[K]['type'] extends 'boolean'
          ? boolean
          : string)
    | undefined
}

function parse(argv: string[]): {
  readonly command: Command | 'help'
  readonly place: string
  readonly values: Values
} {
  const { positionals, values } = parsed(argv)
  const [command, place, ...rest] = positionals
  if (values.help === true) return { command: 'help', place: '', values }
  if (!isCommand(command))
    throw new UsageError(command === undefined ? 'what to do is missing' : `"${command}" is not known`)
  if (place === undefined) throw new UsageError('which database or folder?')
  if (rest.length > 0) throw new UsageError(`"${rest.join(' ')}" is too much`)
  const stray = Object.keys(values).find((name) => !(allowed[command] as readonly string[]).includes(name))
  if (stray !== undefined) throw new UsageError(`--${stray} does not go with ${command}`)
  return { command, place, values }
}

function parsed(argv: string[]): { readonly positionals: string[]; readonly values: Values } {
  try {
    return parseArgs({ args: argv, options, allowPositionals: true })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'that cannot be read')
  }
}

function isCommand(text: string | undefined): text is Command {
  return text !== undefined && Object.hasOwn(allowed, text)
}

function open(place: string): { readonly logs: readonly LogSource[]; close(): void } {
  if (!existsSync(place)) throw new UnreadableError(`${place}: there is no such file or folder`)
  if (!statSync(place).isDirectory()) return openLogDatabase(place)
  return { logs: [openLogFolder(place)], close: () => undefined }
}

function run(command: Command, logs: readonly LogSource[], values: Values, io: Io): number {
  switch (command) {
    case 'verify':
      return verify(logs, values, io)
    case 'show':
      for (const log of chosen(logs, values.log)) show(log, values.envelope, io)
      return 0
    case 'checkpoint':
      return checkpoint(one(logs, values.log), io)
    case 'export': {
      if (values.to === undefined) throw new UsageError('where to? Give --to <new folder>')
      const log = one(logs, values.log)
      io.stdout.write(`${log.log}: ${exportLog(log, values.to)} leaves written to ${values.to}\n`)
      return 0
    }
  }
}

function verify(logs: readonly LogSource[], values: Values, io: Io): number {
  const keys = values.key === undefined ? null : values.key.flatMap(readKeys)
  const against = (values.against ?? []).map(readCheckpoint)
  const wanted = logs.filter(
    ({ log }) => (values.log ?? log) === log && (keys === null || keys.some((key) => belongsTo(key.name, log))),
  )
  const missing = missingLogs(wanted, logs, keys, against, values.log)
  if (wanted.length === 0 && missing.length === 0) {
    throw new UnreadableError(`there is no such log to check; there is ${namesOf(logs)}`)
  }
  const reports = wanted.map((log) => verifyLog(log, { keys, against: notesOf(log, against), ...progress(log, io) }))
  if (values.json === true) io.stdout.write(`${JSON.stringify(jsonReport(reports, missing), null, 2)}\n`)
  else writeReports(reports, missing, logs.length - wanted.length, io)
  return missing.length > 0 || reports.some((report) => report.faults.length > 0) ? 1 : 0
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
  const kept = [
    ...(isFolder ? [] : (keys ?? []).map((key) => key.name)),
    ...against.map((note) => note.checkpoint.origin),
  ]
  const here = (origin: string): boolean => wanted.some((log) => belongsTo(origin, log.log))
  return [...new Set(kept)].filter((origin) => !here(origin) && (name === undefined || belongsTo(origin, name)))
}

function writeReports(reports: readonly LogReport[], missing: readonly string[], unchecked: number, io: Io): void {
  for (const report of reports) io.stdout.write(`${reportLines(report).join('\n')}\n`)
  for (const origin of missing) io.stdout.write(`  TAMPERED (log-missing): there is no log ${origin} here\n`)
  if (unchecked > 0) io.stdout.write(`Not checked: ${unchecked} other ${unchecked === 1 ? 'log' : 'logs'}.\n`)
  if (reports.some((report) => report.keysFrom === 'recorded')) io.stdout.write(`${KEYS_RECORDED}\n`)
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

function show(log: LogSource, envelope: string | undefined, io: Io): void {
  for (const leaf of log.leaves()) {
    const decoded = decodeLeaf(leaf.record)
    if (decoded.kind === 'refused') {
      if (envelope === undefined) io.stdout.write(`${String(leaf.index).padStart(7)} not a record: ${decoded.reason}\n`)
    } else if (envelope === undefined || envelopeOf(decoded.leaf.record) === envelope) {
      io.stdout.write(`${recordLine(leaf.index, decoded.leaf.record)}\n`)
    }
  }
}

function checkpoint(log: LogSource, io: Io): number {
  const last = [...log.checkpoints()].at(-1)
  if (last === undefined) throw new UnreadableError(`${log.log} has no checkpoint yet`)
  io.stdout.write(last.note)
  return 0
}

function chosen(logs: readonly LogSource[], name: string | undefined): readonly LogSource[] {
  if (name === undefined) return logs
  const found = logs.filter((log) => log.log === name)
  if (found.length === 0) throw new UnreadableError(`there is no log "${name}" in it; there is ${namesOf(logs)}`)
  return found
}

function one(logs: readonly LogSource[], name: string | undefined): LogSource {
  const [log, ...others] = chosen(logs, name)
  if (log === undefined) throw new UnreadableError('there is no log in it')
  if (others.length > 0) throw new UsageError(`which log? Give --log with one of ${namesOf(logs)}`)
  return log
}

function namesOf(logs: readonly LogSource[]): string {
  return logs.length === 0 ? 'none' : logs.map((log) => log.log).join(', ')
}

/** A verifier key itself, or a file with one on each line. */
function readKeys(given: string): readonly VerifierKey[] {
  const lines = parseVerifierKey(given) === null ? readText(given).split('\n') : [given]
  return lines
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const key = parseVerifierKey(line)
      if (key === null) throw new UnreadableError(`${given}: it is neither a verifier key nor a file of them`)
      return key
    })
}

function readCheckpoint(file: string): Note {
  const note = parseNote(readText(file))
  if (note === null) throw new UnreadableError(`${file}: it is not a signed checkpoint`)
  return note
}

function readText(file: string): string {
  if (!existsSync(file)) throw new UnreadableError(`${file}: there is no such file`)
  return readFileSync(file, 'utf8')
}

function notesOf(log: LogSource, notes: readonly Note[]): readonly Note[] {
  return notes.filter((note) => belongsTo(note.checkpoint.origin, log.log))
}

function progress(log: LogSource, io: Io): { readonly progress?: (leaves: number) => void } {
  if (io.stderr.isTTY !== true || log.size < 50_000) return {}
  return {
    progress: (leaves) => {
      const end = leaves + 10_000 > log.size ? '\r\u001b[K' : ''
      io.stderr.write(`\r${log.log}: ${leaves} of ${log.size} leaves${end}`)
    },
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && 'syscall' in error
}
