import { existsSync, statSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { exportLog, openLogFolder } from '../audit/export.ts'
import { decodeLeaf, envelopeOf } from '../audit/record.ts'
import { type LogSource, UnreadableError } from '../audit/source.ts'
import { openLogDatabase } from '../audit/sqlite.ts'
import { recordLine } from '../audit/words.ts'
import { systemFault } from '../protocol/system-fault.ts'
import { type AuditIo, verify } from './audit-verify.ts'
import { shieldIds } from './dashed-id.ts'
import { exits, UsageError } from './io.ts'

const options = {
  log: { type: 'string' },
  key: { type: 'string', multiple: true },
  against: { type: 'string', multiple: true },
  envelope: { type: 'string' },
  to: { type: 'string' },
  json: { type: 'boolean' },
} as const

type Values = ReturnType<typeof parsed>['values']
type Verb = 'verify' | 'show' | 'checkpoint' | 'export'

const allowed: Readonly<Record<Verb, readonly string[]>> = {
  verify: ['log', 'key', 'against', 'json'],
  show: ['log', 'envelope'],
  checkpoint: ['log'],
  export: ['log', 'to'],
}

type Output = { write(text: string): unknown; readonly isTTY?: boolean }

/**
 * `sealpost audit …`: checks and shows logs without a server. Answers 0 for verified, 1 for tampered with (it says what), 2 where the place
 * cannot be read or it was called wrongly. Each `write` is one line with its end, but for the progress that a terminal as `stderr` gets.
 */
export async function audit(
  argv: readonly string[],
  { stdout, stderr }: { readonly stdout: Output; readonly stderr: Output },
): Promise<number> {
  const io: AuditIo = {
    out: (line) => stdout.write(`${line}\n`),
    err: (line) => stderr.write(`${line}\n`),
    progress: stderr.isTTY === true ? (text) => stderr.write(`\r${text}\u001b[K`) : null,
  }
  try {
    const { verb, place, values } = parse(argv)
    const { logs, close } = open(place)
    try {
      return run(verb, logs, values, io)
    } finally {
      close()
    }
  } catch (error) {
    if (error instanceof UnreadableError) io.err(error.message)
    else if (isUsageError(error)) io.err(`${error.message}\nHelp: sealpost help audit`)
    else if (isSystemError(error)) io.err(systemFault(error))
    else throw error
    return exits.usage
  }
}

function parse(argv: readonly string[]): { readonly verb: Verb; readonly place: string; readonly values: Values } {
  const { positionals, values } = parsed(argv)
  const [verb, place, ...rest] = positionals
  if (!isVerb(verb)) throw new UsageError('audit: say verify, show, checkpoint or export')
  if (place === undefined) throw new UsageError(`audit ${verb}: say which database or folder`)
  if (rest.length > 0) throw new UsageError(`audit ${verb}: "${rest.join(' ')}" is too much`)
  const stray = Object.keys(values).find((name) => !allowed[verb].includes(name))
  if (stray !== undefined) throw new UsageError(`audit ${verb}: --${stray} does not go with it`)
  return { verb, place, values }
}

function parsed(argv: readonly string[]) {
  return parseArgs({ args: shieldIds(argv), options, allowPositionals: true })
}

function isVerb(text: string | undefined): text is Verb {
  return text !== undefined && Object.hasOwn(allowed, text)
}

function open(place: string): { readonly logs: readonly LogSource[]; close(): void } {
  if (!existsSync(place)) throw new UnreadableError(`${place}: there is no such file or folder`)
  if (!statSync(place).isDirectory()) return openLogDatabase(place)
  return { logs: [openLogFolder(place)], close: () => undefined }
}

function run(verb: Verb, logs: readonly LogSource[], values: Values, io: AuditIo): number {
  switch (verb) {
    case 'verify':
      return verify(logs, values, io)
    case 'show':
      for (const log of chosen(logs, values.log)) show(log, values.envelope, io)
      return exits.ok
    case 'checkpoint':
      io.out(lastNote(one(logs, values.log)).trimEnd())
      return exits.ok
    case 'export': {
      if (values.to === undefined) throw new UsageError('audit export: say where to with --to NEW-FOLDER')
      const log = one(logs, values.log)
      io.out(`${log.log}: ${exportLog(log, values.to)} leaves written to ${values.to}`)
      return exits.ok
    }
  }
}

function show(log: LogSource, envelope: string | undefined, io: AuditIo): void {
  if (envelope === undefined) io.out(`log ${log.log}:`)
  for (const leaf of log.leaves()) {
    const decoded = decodeLeaf(leaf.record)
    if (decoded.kind === 'refused') {
      if (envelope === undefined) io.out(`${String(leaf.index).padStart(7)} not a record: ${decoded.reason}`)
    } else if (envelope === undefined || envelopeOf(decoded.leaf.record) === envelope) {
      io.out(recordLine(leaf.index, decoded.leaf.record))
    }
  }
}

function lastNote(log: LogSource): string {
  let note: string | null = null
  for (const checkpoint of log.checkpoints()) note = checkpoint.note
  if (note === null) throw new UnreadableError(`${log.log} has no checkpoint yet`)
  return note
}

function chosen(logs: readonly LogSource[], name: string | undefined): readonly LogSource[] {
  const found = logs.filter(({ log }) => (name ?? log) === log)
  if (found.length === 0) throw new UnreadableError(`there is no such log; there is ${namesOf(logs)}`)
  return found
}

function one(logs: readonly LogSource[], name: string | undefined): LogSource {
  const [log, ...others] = chosen(logs, name)
  if (log === undefined || others.length > 0) throw new UsageError(`audit: say --log with one of ${namesOf(logs)}`)
  return log
}

function namesOf(logs: readonly LogSource[]): string {
  return logs.length === 0 ? 'none' : logs.map(({ log }) => log).join(', ')
}

/** Also what parseArgs says of options that there are not. */
function isUsageError(error: unknown): error is Error {
  if (!(error instanceof Error)) return false
  return error instanceof UsageError || ('code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && 'syscall' in error
}
