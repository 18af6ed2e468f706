import type { AuditRecord } from './kinds.ts'
import type { LogReport } from './verify.ts'

/** A record as one line for a person: index, time, kind, and its fields; personal values by their pseudonyms. */
export function recordLine(index: number, record: AuditRecord): string {
  const { kind, time, request, ...fields } = record
  const said = Object.entries({ ...fields, request }).flatMap(([name, value]) => {
    const text = valueText(value)
    return text === '' ? [] : [`${name}=${text}`]
  })
  return [String(index).padStart(7), time, kind.padEnd(16), ...said].join(' ')
}

/** What `audit verify` says of one log, line by line. */
export function reportLines(report: LogReport): readonly string[] {
  const { log, leaves, covered, checkpoints, root, faults, moreFaults } = report
  const lines = [`${log}: ${amount(leaves, 'leaf', 'leaves')}, ${amount(checkpoints, 'checkpoint', 'checkpoints')}`]
  if (faults.length === 0) {
    const under = root === null ? 'nothing in it yet' : `root ${Buffer.from(root).toString('base64')} over ${covered}`
    lines.push(`  verified: ${under}`)
  }
  for (const { kind, text } of faults) lines.push(`  TAMPERED (${kind}): ${text}`)
  if (moreFaults > 0) lines.push(`  and ${moreFaults} findings more`)
  if (leaves > covered && faults.length === 0) {
    const last = amount(leaves - covered, 'leaf', 'leaves')
    lines.push(`  the last ${last} came after the last checkpoint: nothing signed says yet that they are right`)
  }
  return lines
}

/** What has to be said where nobody gave a key. */
export const KEYS_RECORDED =
  'The keys were taken from the very place that was checked: whoever could exchange both log and key would not be found. ' +
  'Give the key that you keep elsewhere with --key.'

function valueText(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'string') return /^[\w./:@+-]+$/.test(value) ? value : JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(valueText).join(',')}]`
  if (typeof value !== 'object') return String(value)
  if ('pseudonym' in value && 'address' in value) return `person:${String(value.pseudonym)}`
  const members = Object.entries(value).map(([name, member]) => `${name}:${valueText(member)}`)
  return `{${members.join(',')}}`
}

function amount(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`
}
