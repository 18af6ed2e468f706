import { readFile, stat } from 'node:fs/promises'
import { bounds } from '../rulebook/bounds.ts'
import { type CaseResult, type Examined, examinePolicy, type Fault } from '../rulebook/index.ts'
import { exits, type Io, UsageError } from './io.ts'
import { explain } from './policy-explain.ts'

/**
 * `sealpost policy check FILE...`, `policy test FILE...`, and {@link explain}: what the key server would say to these files, without it. `check` names every
 * fault; `test` also prints each test that stands in the file. 0: all good. 1: a file has faults or a failing test. 2: asked
 * wrongly, or a file cannot be read.
 */
export async function policy(argv: readonly string[], io: Io): Promise<number> {
  const [action, ...files] = argv
  if (action === 'explain') return explain(files, io)
  if (action !== 'check' && action !== 'test')
    throw new UsageError(`policy: say check, test or explain, not ${action ?? 'nothing'}`)
  const option = files.find((file) => file.startsWith('-'))
  if (option !== undefined) throw new UsageError(`policy ${action}: no option ${option}`)
  if (files.length === 0)
    throw new UsageError(`policy ${action}: name at least one file, such as policies/acme.example.yaml`)
  let exit: number = exits.ok
  for (const file of files) exit = Math.max(exit, await look(action, file, io))
  return exit
}

async function look(action: 'check' | 'test', file: string, io: Io): Promise<number> {
  const text = await textOf(file)
  if (text.kind === 'unreadable') {
    io.err(`${file}: ${text.cause}`)
    return exits.usage
  }
  const examined = examinePolicy(text.text, file)
  if (action === 'test') tell(examined.cases, file, io)
  // A failing test was just printed, with what came out.
  const faults = action === 'test' && examined.cases.length > 0 ? [] : examined.faults
  for (const fault of faults) io.err(lineFor(fault))
  if (action === 'check' && examined.policy) io.out(summary(examined, file))
  return examined.policy ? exits.ok : exits.failed
}

function tell(cases: readonly CaseResult[], file: string, io: Io): void {
  for (const { part, name, passed, expected, actual } of cases) {
    if (passed) io.out(`passed  ${part}: ${name}`)
    else io.out(`FAILED  ${part}: ${name}\n        expected ${expected}, came out ${actual}`)
  }
  const failed = cases.filter(({ passed }) => !passed).length
  io.out(`${file}: ${cases.length - failed} passed, ${failed} failed`)
}

function summary({ policy: good, cases }: Examined, file: string): string {
  const rules = `${good?.outbound.length ?? 0} outbound and ${good?.release.length ?? 0} release rules`
  const asks = good?.readsRecipientTls ? '; put into force only where keyserver.yaml says recipientTls: true' : ''
  return `${file}: good; ${rules}, ${cases.length} tests passed, hash ${good?.hash ?? ''}${asks}`
}

function lineFor({ file, line, column, message, hint }: Fault): string {
  return `${file}:${line}:${column} ${message}${hint === '' ? '' : `\n    ${hint}`}`
}

type Text = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'unreadable'; readonly cause: string }

async function textOf(file: string): Promise<Text> {
  try {
    const { size } = await stat(file)
    if (size > 4 * bounds.fileCharacters) return { kind: 'unreadable', cause: 'too large for a policy file' }
    return {
      kind: 'text',
      text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(file)),
    }
  } catch (error) {
    return { kind: 'unreadable', cause: causes[codeOf(error)] ?? 'cannot be read' }
  }
}

const causes: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'no permission to read it',
  EISDIR: 'a folder, not a file',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'not UTF-8: save it as UTF-8',
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
