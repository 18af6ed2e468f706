import { statSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { ConfigError } from '../protocol/config-document.ts'
import type { Config } from './config.ts'
import type { Log } from './log.ts'

export type ReloadParts = {
  /** The configuration that runs. */
  readonly first: Config
  /** Reads the configuration anew; throws a {@link ConfigError} with all faults. */
  readonly load: () => Config
  /** Puts it in force; rejects with all as before. */
  readonly apply: (next: Config) => Promise<void>
  readonly log: Log
  /** How often the files that the configuration names are looked at, milliseconds. */
  readonly everyMs: number
}

/** Loads the configuration again: when asked to, and when a file that it names (a certificate, a key, accounts) has changed. */
export type Reloading = {
  /** One after another. What is wrong is logged, and the old configuration stays. `reason` is for the log. */
  reload(reason: string): Promise<void>
  stop(): void
}

export function startReloading({ first, load, apply, log, everyMs }: ReloadParts): Reloading {
  let current = first
  let marks = marksOf(current.files)
  let seen = marks
  let last: Promise<void> = Promise.resolve()

  async function once(reason: string): Promise<void> {
    try {
      const next = load()
      const fixed = faultsOfChange(current, next)
      if (fixed.length > 0) throw new ConfigError(fixed)
      await apply(next)
      current = next
      log.info('configuration reloaded', { reason })
    } catch (error) {
      const faults = error instanceof ConfigError ? error.faults : null
      for (const fault of faults ?? []) log.error('configuration not reloaded, the old one stays', { reason: fault })
      if (faults === null) log.error('configuration not reloaded, the old one stays', { cause: error })
    }
    marks = marksOf(current.files)
    seen = marks
  }
  const reload = (reason: string) => {
    last = last.then(() => once(reason))
    return last
  }
  /** A change counts when it has settled: certificate and key are two files. */
  function look(): void {
    const now = marksOf(current.files)
    const settled = isDeepStrictEqual(now, seen)
    seen = now
    if (settled && !isDeepStrictEqual(now, marks)) void reload('a file that it names has changed')
  }
  const timer = setInterval(look, everyMs).unref()
  return { reload, stop: () => clearInterval(timer) }
}

/** What differs between the two and is read at the start only, one sentence each. */
function faultsOfChange(running: Config, next: Config): string[] {
  const old = fixedParts(running)
  return Object.entries(fixedParts(next)).flatMap(([name, value]) =>
    isDeepStrictEqual(value, old[name]) ? [] : [`${name}: a change of it needs a restart; nothing was changed`],
  )
}

function fixedParts(config: Config): Record<string, unknown> {
  const { url, timeoutMs, pollMs } = config.keyServer
  return {
    name: config.name,
    data: config.data,
    'organizations (which there are)': config.organizations.map(({ id }) => id).sort(),
    'keyServer > url, timeoutSeconds, pollSeconds': [url, timeoutMs, pollMs],
    copies: config.copies,
    spool: config.spool,
    ops: config.ops,
    telemetry: config.telemetry,
    'limits > budgetSeconds': config.limits.budgetMs,
    'limits > memory': config.limits.memory,
    'log > level': config.logLevel,
  }
}

/** What tells one version of a file from another, and from none: a change of mode or owner mends one that could not be used. */
function marksOf(files: readonly string[]): readonly string[] {
  return files.map((file) => {
    const found = statSync(file, { throwIfNoEntry: false })
    return found === undefined ? 'none' : `${found.ino} ${found.size} ${found.ctimeMs}`
  })
}
