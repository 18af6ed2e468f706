import type { Io } from '../../cli/io.ts'

/** A terminal that remembers what was written to it. */
export function capture(): Io & { text: () => string; errors: () => string } {
  const out: string[] = []
  const err: string[] = []
  return {
    out: (line) => void out.push(line),
    err: (line) => void err.push(line),
    text: () => out.join('\n'),
    errors: () => err.join('\n'),
  }
}
