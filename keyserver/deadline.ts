import { KeyServerError } from './error.ts'

/** How long a caller waits for the log or a key before it is told to come again. */
export const PATIENCE_MS = 5_000

/**
 * `work`, or `unavailable` once it has taken too long: never a hang. What was begun may still complete; for a release that means a record
 * without a key, never a key without a record.
 */
export async function inTime<T>(work: Promise<T>, patience: number = PATIENCE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new KeyServerError('unavailable', { cause: new Error('too slow') })), patience)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
