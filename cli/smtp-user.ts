import { closeSync, fchmodSync, fstatSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { hashPassword } from '../gateway/accounts.ts'
import { parseOrgId } from '../protocol/identifiers.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'

const NAME = /^[A-Za-z0-9][A-Za-z0-9.@_+-]{0,127}$/
const SHORTEST = 12
const LONGEST = 256

/**
 * `sealpost smtp-user add NAME --org ORG [--file FILE]`: one item of the gateway's accounts file (YAML); the password comes
 * from `input`.
 */
export async function smtpUser(argv: readonly string[], io: Io, input: AsyncIterable<Buffer | string> = process.stdin) {
  const [action, ...rest] = argv
  if (action !== 'add') throw new UsageError(`smtp-user: say add, not ${action ?? 'nothing'}`)
  const { values, positionals } = parseArgs({
    args: rest,
    options: { org: { type: 'string' }, file: { type: 'string' } },
    allowPositionals: true,
  })
  const [name, ...more] = positionals
  if (name === undefined || more.length > 0) throw new UsageError('smtp-user add: say one NAME')
  if (!NAME.test(name))
    throw new UsageError('smtp-user add: a NAME is made of letters, digits and . @ _ + -, at most 128 of them')
  const org = parseOrgId(values.org ?? '')
  if (org === null) throw new UsageError('smtp-user add: name the organization with --org, such as acme.example')
  if (input === process.stdin && process.stdin.isTTY)
    io.err('Type the password and press Enter (the terminal shows it):')
  const password = await firstLine(input)
  if (password.length < SHORTEST) {
    throw new UsageError(`smtp-user add: the password needs ${SHORTEST} characters or more; pass it on standard input`)
  }
  const line = `${itemOf(name)} org: ${org}, hash: ${JSON.stringify(await hashPassword(password))} }`
  if (values.file === undefined) io.out(line)
  else {
    append(values.file, name, line)
    io.out(`${values.file}: ${name} added. The gateway takes it up within half a minute.`)
  }
  return exits.ok
}

async function firstLine(input: AsyncIterable<Buffer | string>): Promise<string> {
  let text = ''
  for await (const piece of input) {
    text += piece.toString()
    if (text.includes('\n')) break
    if (text.length > LONGEST) break
  }
  const line = text.split('\n', 1)[0]?.replace(/\r$/, '') ?? ''
  if (line.length > LONGEST) throw new UsageError(`smtp-user add: a password has at most ${LONGEST} characters`)
  return line
}

function append(path: string, name: string, line: string): void {
  const file = openSync(path, 'a+', 0o600)
  try {
    const text = readFileSync(file, 'utf8')
    if (text.split('\n').some((old) => old.trimStart().startsWith(itemOf(name)))) {
      throw new Failure(`${path}: already holds ${name}; remove its line first`)
    }
    if ((fstatSync(file).mode & 0o077) !== 0) fchmodSync(file, 0o600)
    writeSync(file, `${text === '' || text.endsWith('\n') ? '' : '\n'}${line}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

function itemOf(name: string): string {
  return `- { user: ${JSON.stringify(name)},`
}
