import { writeSync, write as writeTo } from 'node:fs'

/** Where a process writes its log, a whole line at a time. */
export type LogOutput = {
  readonly write: (line: string) => void
  /** Writes what is left, as far as it can be written now. Never throws. */
  readonly flushSync: () => void
}

/** Characters that are worth a write of their own. */
const PAGE = 4096
/** What waits at most for a reader that reads slowly; lines beyond it are dropped. */
const MOST = 1024 * 1024
const LATEST_MS = 200

/**
 * Lines to the open file `fd` (standard output) by the page and not one by one, at the latest after a fifth of a second and when the process ends: a write to
 * a file or pipe would else hold up every message. What cannot be written is dropped, and nobody hears of it: a log on a full disk, or whose reader has gone,
 * neither ends a process nor keeps it from ending.
 */
export function openLogOutput(fd = 1): LogOutput {
  let waiting = ''
  let isWriting = false
  const put = (octets: Buffer) =>
    writeTo(fd, octets, (error, written) => {
      if (error?.code === 'EAGAIN') return void setTimeout(put, LATEST_MS, octets).unref()
      if (error === null && written < octets.length) return put(octets.subarray(written))
      isWriting = false
      if (error === null && waiting.length >= PAGE) flush()
    })
  const flush = () => {
    if (isWriting || waiting === '') return
    const octets = Buffer.from(waiting)
    waiting = ''
    isWriting = true
    put(octets)
  }
  const flushSync = () => {
    let octets = Buffer.from(waiting)
    waiting = ''
    try {
      while (octets.length > 0) octets = octets.subarray(writeSync(fd, octets))
    } catch {
      // Dropped.
    }
  }
  setInterval(flush, LATEST_MS).unref()
  process.once('exit', flushSync)
  return {
    flushSync,
    write: (line) => {
      if (waiting.length + line.length > MOST) return
      waiting += line
      if (waiting.length >= PAGE) flush()
    },
  }
}
