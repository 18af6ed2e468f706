import { open, stat } from 'node:fs/promises'
import { KeyServerError } from './error.ts'

/** Brings a SQLite write-ahead log onto the disk without holding up the thread, as `synchronous=FULL` would at every commit. */
export type WalFlush = {
  /**
   * Resolves when all that was committed before the call is on disk. After one failure it rejects with `unavailable` for good: what the disk
   * then holds is not known, and asking it again would get a yes that means nothing. Only a new start, which reads what is there, goes on.
   */
  flush(): Promise<void>
  /**
   * Rejects, in words for the operator, once a flush has failed, or where the database or its log is not in its place any more: what is written then is gone
   * at the next start. From then on `flush` rejects, too.
   */
  check(): Promise<void>
  /** May be called again. */
  close(): Promise<void>
}

const MOVED =
  'the database was moved, removed or replaced while it was open: stop the key server, put the right files in place, then start it anew'
const ASK_THE_DISK = 'the disk did not confirm what was written: look at it, then start the key server anew'

/** For the log of the database `file`, which must be open in WAL mode: SQLite keeps that one file until its last connection closes. */
export async function openWalFlush(file: string): Promise<WalFlush> {
  const log = await open(`${file}-wal`, 'r+')
  const identity = async () => {
    const found = await Promise.all([file, `${file}-wal`].map((path) => stat(path)))
    return found.map(({ dev, ino }) => `${dev} ${ino}`).join()
  }
  const opened = await identity()
  let fault: Error | null = null
  const requireNone = () => {
    if (fault !== null) throw fault
  }
  return {
    flush: async () => {
      try {
        requireNone()
        await log.datasync()
      } catch (cause) {
        fault ??= new Error(ASK_THE_DISK, { cause })
        throw new KeyServerError('unavailable', { cause: fault })
      }
    },
    check: async () => {
      const now = await identity().catch(() => null)
      if (now !== opened) fault ??= new Error(MOVED)
      requireNone()
    },
    close: () => log.close(),
  }
}
