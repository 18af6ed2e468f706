import { appendFileSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Called } from './callers.ts'
import type { Figure } from './figure.ts'
import type { Machine } from './machine.ts'
import type { Turn } from './relay.ts'

/** A results file: JSON lines. A head for each run, then each turn as it was measured, then the figures. */
export type Line =
  | ({ readonly kind: 'head'; readonly at: string; readonly command: string; readonly rounds: number } & Machine)
  | Turn
  | ({ readonly kind: 'called'; readonly round: number } & Called)
  | ({ readonly kind: 'figure' } & Figure)

/** Appends to the file, line by line: what was measured before a failure stays. */
export function createResults(file: string): { readonly keep: (line: Line) => void } {
  mkdirSync(dirname(file), { recursive: true })
  return { keep: (line) => appendFileSync(file, `${JSON.stringify(line)}\n`) }
}

/** Head and figures of the last run in the text of a results file. Throws where there is none. */
export function lastRun(text: string): {
  readonly head: Extract<Line, { kind: 'head' }>
  readonly figures: readonly Figure[]
} {
  // Written by this file alone.
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
  const start = lines.findLastIndex((line) => line.kind === 'head')
  const head = lines[start]
  if (head?.kind !== 'head') throw new Error('there is no run in this file')
  return { head, figures: lines.slice(start).filter((line) => line.kind === 'figure') }
}

export function readResults(file: string): ReturnType<typeof lastRun> {
  return lastRun(readFileSync(file, 'utf8'))
}
