import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { DiskFault, FileToWrite, SpoolDiskOptions, SpoolOrder, SpoolOrderResult } from './spool-disk.ts'

/** Puts small files into the spool's folder and removes files of any size, in a thread of its own: what is asked for meanwhile is done together. */
export type SpoolWriter = {
  /** Done as `file` says when it resolves, or there is nothing. Rejects with the file system's error. */
  write(file: FileToWrite): Promise<void>
  /** Whether it was there or not. */
  remove(name: string): Promise<void>
  /** Ends the thread, once what was asked for is done. */
  close(): Promise<void>
}

/** Of one order; the rest is done in the next. Removing can be slow, and is not to be in the way of a file that comes then. */
const MOST = { files: 64, octets: 4 * 1024 * 1024, removed: 64, onlyRemoved: 16 }

type Waiting<What> = { readonly what: What; readonly resolve: () => void; readonly reject: (error: Error) => void }
type Order = { readonly files: readonly Waiting<FileToWrite>[]; readonly removed: readonly Waiting<string>[] }

/** The thread begins with the first order. One that dies fails what it had, and the next order begins another. */
export function createSpoolWriter(options: SpoolDiskOptions): SpoolWriter {
  const files: Waiting<FileToWrite>[] = []
  const removed: Waiting<string>[] = []
  let thread: Worker | null = null
  let order: Order | null = null
  const closing: (() => void)[] = []

  function begin(): Worker {
    const begun = new Worker(new URL('./spool-thread.ts', import.meta.url), { workerData: options })
    begun.on('message', (result: SpoolOrderResult) => {
      const done = order
      order = null
      next()
      for (const [index, one] of done?.files.entries() ?? []) settle(one, result.files[index] ?? null)
      for (const [index, one] of done?.removed.entries() ?? []) settle(one, result.removed[index] ?? null)
    })
    begun.on('error', (error) => fail(begun, error))
    begun.on('exit', () => fail(begun, new Error('the thread that writes the spool has ended')))
    thread = begun
    return begun
  }

  function fail(which: Worker, error: Error): void {
    if (thread !== which) return
    thread = null
    const lost = order
    order = null
    for (const one of [...(lost?.files ?? []), ...(lost?.removed ?? [])]) one.reject(error)
    next()
  }

  function next(): void {
    if (order !== null) return
    if (files.length === 0 && removed.length === 0) {
      thread?.unref()
      for (const resolve of closing.splice(0)) resolve()
      return
    }
    const most = files.length === 0 ? MOST.onlyRemoved : MOST.removed
    order = { files: files.splice(0, fitting(files)), removed: removed.splice(0, most) }
    const message: SpoolOrder = {
      files: order.files.map(({ what }) => what),
      removed: order.removed.map(({ what }) => what),
    }
    const worker = thread ?? begin()
    // Whoever waits for a file keeps the process alive.
    worker.ref()
    worker.postMessage(message)
  }

  const add = <What>(line: Waiting<What>[], what: What) =>
    new Promise<void>((resolve, reject) => {
      line.push({ what, resolve, reject })
      next()
    })

  return {
    write: (file) => add(files, file),
    remove: (name) => add(removed, name),
    async close() {
      if (order !== null) await new Promise<void>((resolve) => closing.push(resolve))
      const ended = thread
      thread = null
      if (ended === null) return
      const exit = once(ended, 'exit')
      ended.ref()
      ended.postMessage(null)
      await exit
    },
  }
}

/** How many of those who wait go into one order: one at least. */
function fitting(files: readonly Waiting<FileToWrite>[]): number {
  let octets = 0
  for (const [index, { what }] of files.entries()) {
    octets += what.octets.length
    if (index === MOST.files || (index > 0 && octets > MOST.octets)) return index
  }
  return files.length
}

function settle({ resolve, reject }: Waiting<unknown>, fault: DiskFault | null): void {
  if (fault === null) resolve()
  else reject(Object.assign(new Error(fault.message), { code: fault.code }))
}
