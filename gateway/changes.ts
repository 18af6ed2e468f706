import { join } from 'node:path'
import type { Copies } from './copies.ts'
import { readIfThere, writeDurably } from './durable-file.ts'
import type { Holds } from './holds.ts'
import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'

export type ChangesParts = {
  /** Exists already; holds the cursor. */
  readonly folder: string
  readonly keyServer: Pick<KeyServer, 'changes'>
  readonly copies: Pick<Copies, 'delete'>
  readonly holds: Pick<Holds, 'note'>
  readonly log: Log
}

/**
 * Follows what became of our envelopes: a sealed copy goes when its envelope was shredded, not by a clock of its own; what is held is asked for
 * again, and after each start anyway.
 */
export type Changes = {
  /** Deals with all that is new. What fails is logged and comes again: the cursor moves only behind what was done. */
  poll(): Promise<void>
}

export function createChanges(parts: ChangesParts): Changes {
  const { keyServer, copies, holds, log } = parts
  const path = join(parts.folder, 'changes.cursor')
  let cursor: number | null = null

  async function follow(): Promise<void> {
    cursor ??= Number(await readIfThere(path)) || 0
    for (;;) {
      const { changes, next } = await keyServer.changes(cursor)
      for (const change of changes) {
        holds.note(change.id)
        if (change.kind === 'shredded' && (await copies.delete(change.id))) {
          log.info('sealed copy removed', { envelope: change.id })
        }
      }
      if (next <= cursor) return
      await writeDurably(path, `${next}\n`)
      cursor = next
      if (changes.length === 0) return
    }
  }

  return {
    async poll() {
      await follow().catch((cause: unknown) => log.warn('changes not followed', { cause }))
    },
  }
}
