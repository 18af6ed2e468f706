import { parseEnvelopeId } from '../protocol/identifiers.ts'

/**
 * One envelope id in 64 begins with a hyphen, and `parseArgs` would take it for an option: here such ids are put where they cannot be
 * mistaken. Behind an option that waits for its value they become that value, otherwise they go to the end, behind `--`.
 */
export function shieldIds(argv: readonly string[]): string[] {
  const args: string[] = []
  const ids: string[] = []
  for (const arg of argv) {
    const last = args.at(-1)
    if (!arg.startsWith('-') || parseEnvelopeId(arg) === null) args.push(arg)
    else if (last !== undefined && /^--[a-z]+$/.test(last)) args.splice(-1, 1, `${last}=${arg}`)
    else ids.push(arg)
  }
  return ids.length === 0 || args.includes('--') ? [...args, ...ids] : [...args, '--', ...ids]
}
