import { parentPort, workerData } from 'node:worker_threads'
import { createSpoolDisk, type SpoolDiskOptions, type SpoolOrder } from './spool-disk.ts'

/** The thread that writes the spool, so that a slow disk holds up nothing else: takes orders one at a time, and answers each; null ends it. */

/** How long nothing comes in before what was removed last is gone, milliseconds, */
const PAUSE_MS = 250
/** and how much longer files are kept for further use; then they go a few at a time. */
const REST_MS = 30_000
const TIDY_MS = 50

// Given by the one who starts this thread.
const disk = createSpoolDisk(workerData as SpoolDiskOptions)
let rest: NodeJS.Timeout | null = null

function sweep(): void {
  disk.sweep()
  rest = setTimeout(tidy, REST_MS)
}

function tidy(): void {
  rest = disk.tidy() ? null : setTimeout(tidy, TIDY_MS)
}

parentPort?.on('message', async (order: SpoolOrder | null) => {
  if (rest !== null) clearTimeout(rest)
  if (order === null) {
    disk.sweep()
    while (!disk.tidy());
    parentPort?.close()
    return
  }
  parentPort?.postMessage(await disk.carryOut(order))
  rest = setTimeout(sweep, PAUSE_MS)
})
