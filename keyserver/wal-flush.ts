import { open } from 'node:fs/promises'
import { KeyServerError } from './error.ts'

/** Brings a SQLite write-ahead log onto the disk without holding up the thread, as `synchronous=FULL` would at every commit. */
export type WalFlush = {
  /**
   * Resolves when all that was committed before the call is on disk. After one failure it rejects with `unavailable` for good: what the disk
   * then holds is not known, and asking it again would get a yes that means nothing. Only a new start, which reads what is there, goes on.
   */
  flush(): Promise<void>
  /** Rejects once a flush has failed, in words for the operator. */
  check(): Promise<void>
  /** May be called again. */
  close(): Promise<void>
}

const ASK_THE_DISK = 'the disk did not confirm what was written: look at it, then start the key server anew'

/** For the log of the database `file`, which must be open in WAL mode: SQLite keeps that one file until its last connection closes. */
export async function openWalFlush(file: string): Promise<WalFlush> {
  const log = await open(`${file}-wal`, 'r+')
  let fault: Error | null = null
  const check = async () => {
    if (fault !== null) throw fault
  }
  return {
    flush: async () => {
      try {
        await check()
        await log.datasync()
      } catch (cause) {
        fault ??= new Error(ASK_THE_DISK, { cause })
        throw new KeyServerError('unavailable', { cause: fault })
      }
    },
    check,
    close: () => log.close(),
  }
}
