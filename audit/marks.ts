import type { Note } from './checkpoint.ts'
import { type Findings, leavesText } from './fault.ts'
import type { Judge } from './judge.ts'
import type { LogSource, StoredCheckpoint } from './source.ts'

/** The sizes of a log at which something vouches for it. */
export type Marks = {
  /** Judges every checkpoint over at most so many leaves. */
  passed(leaves: number): void
  /** Names every checkpoint over more leaves than there are. */
  end(leaves: number): void
  /** Lets go of the source, wherever the walk ended. */
  close(): void
}

/** Stored checkpoints and earlier ones, both by size, each handed to the judge when the walk has come to it. */
export function createMarks(source: LogSource, against: readonly Note[], judge: Judge, findings: Findings): Marks {
  const stored = source.checkpoints()[Symbol.iterator]()
  const earlier = against.toSorted((a, b) => b.checkpoint.size - a.checkpoint.size)
  let checkpoint: StoredCheckpoint | undefined = stored.next().value
  return {
    close: () => void stored.return?.(),
    passed(leaves) {
      for (let note = earlier.at(-1); note !== undefined && note.checkpoint.size <= leaves; note = earlier.at(-1)) {
        judge.earlier(note)
        earlier.pop()
      }
      while (checkpoint !== undefined && checkpoint.size <= leaves) {
        judge.checkpoint(checkpoint)
        checkpoint = stored.next().value
      }
    },
    end(leaves) {
      for (const { checkpoint: kept } of earlier.reverse()) {
        const text = `it has ${leaves} leaves, and the earlier checkpoint was made over ${kept.size}: the log was rolled back`
        findings.add('rolled-back', [leaves, kept.size - 1], text)
      }
      let last = leaves
      for (; checkpoint !== undefined; checkpoint = stored.next().value) last = Math.max(last, checkpoint.size)
      if (last > leaves)
        findings.add(
          'cut',
          [leaves, last - 1],
          `${leavesText(leaves, last - 1)}: missing at the end, and a checkpoint covers them`,
        )
    },
  }
}
