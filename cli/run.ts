import { systemFault } from '../protocol/system-fault.ts'
import { commands, overview } from './commands.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'

/**
 * Runs one command line and answers its exit status: 0 done, 1 the answer is no, 2 asked wrongly, 78 a named file has faults. Never
 * throws and never prints a stack: what nobody foresaw ends as one sentence.
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = argv
  if (name === undefined) {
    io.err(overview())
    return exits.usage
  }
  if (name === 'help' || name === '--help' || name === '-h') return help(rest[0], io)
  if (rest.includes('--help') || rest.includes('-h')) return help(name, io)
  const entry = commands.find((one) => one.name === name)
  if (entry === undefined) return unknown(name, io)
  try {
    const command = await entry.load()
    return await command(rest, io)
  } catch (error) {
    return explain(error, name, io)
  }
}

function help(name: string | undefined, io: Io): number {
  const entry = commands.find((one) => one.name === name)
  if (name !== undefined && entry === undefined) return unknown(name, io)
  io.out(entry === undefined ? overview() : entry.help)
  return exits.ok
}

function unknown(name: string, io: Io): number {
  io.err(`sealpost: there is no command ${JSON.stringify(name)}; sealpost help lists them`)
  return exits.usage
}

function explain(error: unknown, name: string, io: Io): number {
  if (error instanceof Failure) {
    io.err(error.message)
    return error.exit
  }
  if (error instanceof UsageError || codeOf(error).startsWith('ERR_PARSE_ARGS')) {
    io.err(error instanceof Error ? error.message : String(error))
    io.err(`Help: sealpost help ${name}`)
    return exits.usage
  }
  io.err(`sealpost ${name}: ${systemFault(error)}`)
  return exits.failed
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
