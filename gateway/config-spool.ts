import { resolve } from 'node:path'
import type { Reading } from './config-reading.ts'
import type { Pauses } from './spool-entry.ts'

export type SpoolConfig = {
  readonly folder: string
  /** File of the key that what lies in the spool is encrypted under. */
  readonly keyFile: string
  readonly lifeMs: number
  readonly delayNoticeMs: number
  readonly pauses: Pauses
  /** Octets of the disk that are left free. */
  readonly reserve: number
}

/** Where the spool lies and how long it tries. */
export function spoolOf({ at, file }: Pick<Reading, 'at' | 'file'>): SpoolConfig {
  const { spool } = file
  const data = at(file.data)
  return {
    folder: spool?.folder === undefined ? resolve(data, 'spool') : at(spool.folder),
    keyFile: resolve(data, 'spool.key'),
    lifeMs: 1000 * (spool?.lifeSeconds ?? 432_000),
    delayNoticeMs: 1000 * (spool?.delayNoticeSeconds ?? 14_400),
    pauses: { firstMs: 1000 * (spool?.retrySeconds ?? 30), mostMs: 1000 * (spool?.retryMostSeconds ?? 1_800) },
    reserve: spool?.reserve ?? 268_435_456,
  }
}
