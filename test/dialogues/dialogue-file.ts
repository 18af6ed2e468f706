import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** One line of a dialogue: who does what, with its text as written. */
export type Step = { readonly line: number; readonly key: string; readonly text: string }

export type DialogueFile = {
  readonly name: string
  /** The first sentence of the head: what the dialogue shows. */
  readonly shows: string
  readonly steps: readonly Step[]
  /** What the next hop answers, by the beginning of what it hears. */
  readonly rules: readonly Rule[]
}

export type Rule = { readonly hears: string; readonly pieces: readonly string[] }

const LINE = /^([A-Za-z]+(?:-[a-z]+)?)(?:: ?(.*))?$/
const RULE = /^(\S.*?) -> ?(.*)$/

/** Every dialogue of a folder, in the order of its names. Throws, naming file and line, where one cannot be understood. */
export function readDialogues(folder: string): DialogueFile[] {
  const names = readdirSync(folder).filter((name) => name.endsWith('.txt'))
  return names.sort().map((name) => readDialogue(name, readFileSync(join(folder, name), 'utf8')))
}

function readDialogue(name: string, text: string): DialogueFile {
  const steps: Step[] = []
  const rules: Rule[] = []
  const head: string[] = []
  for (const [index, line] of text.split('\n').entries()) {
    if (line.startsWith('#')) head.push(line.slice(1).trim())
    if (line === '' || line.startsWith('#')) continue
    const [, key = '', rest = ''] = LINE.exec(line) ?? []
    if (key === '') throw new Error(`${name}:${index + 1}: not a line of a dialogue`)
    if (key === 'P') rules.push(readRule(rest, `${name}:${index + 1}`))
    else steps.push({ line: index + 1, key, text: rest })
  }
  const [shows = ''] = head
  if (shows === '' || !/RFC \d{4} /.test(head.join(' ')))
    throw new Error(`${name}: the head says neither what it shows nor the RFC section`)
  return { name, shows, steps, rules }
}

function readRule(text: string, place: string): Rule {
  const [, hears, says = ''] = RULE.exec(text) ?? []
  if (hears === undefined) throw new Error(`${place}: P: <what it hears> -> <what it says>`)
  return { hears, pieces: says.split(/ ?\{(\d+ ms|close|silence)\} ?/) }
}

/** `\r \n \0 \t \\ \xNN` and `{text*times}`. Every character is one octet; what is written in UTF-8 becomes its octets. */
export function octetsOf(text: string): string {
  return Buffer.from(text, 'utf8')
    .toString('latin1')
    .replace(/\{([^{}]+)\*(\d+)\}/g, (_, piece: string, times: string) => piece.repeat(Number(times)))
    .replace(/\\(?:x([0-9a-f]{2})|(.))/g, (_, hex: string | undefined, one: string) =>
      hex === undefined ? (escapes[one] ?? one) : String.fromCharCode(Number.parseInt(hex, 16)),
    )
}

const escapes: Readonly<Record<string, string>> = { r: '\r', n: '\n', t: '\t', 0: '\0' }
