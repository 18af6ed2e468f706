/** One transaction that several works share. */
export type Unit<Tx> = {
  readonly tx: Tx
  /** Starts a work: what follows can be undone alone, unless it is the only one. */
  begin(only: boolean): Promise<void>
  /** Keeps what the work did. */
  keep(): Promise<void>
  undo(): Promise<void>
  /** Resolves when everything kept is on disk. */
  commit(): Promise<void>
  rollback(): Promise<void>
}

export type Batch<Tx> = {
  /** Runs the work in the next transaction; settles when that is on disk. */
  run<T>(work: (tx: Tx) => Promise<T>): Promise<T>
  /** Acts while no transaction is open. */
  between(act: () => void): Promise<void>
  /** Resolves when nothing is under way. */
  idle(): Promise<void>
}

type Job<Tx> = {
  readonly work: (tx: Tx) => Promise<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
}

/** Longest row of works that share a commit: bounds how long the first of them waits for the last. */
const LARGEST = 512

/**
 * Group commit. Works that arrive in one turn of the event loop, or while a commit is under way, share one transaction and so one
 * fsync; each runs under a savepoint. A work that throws undoes itself and rejects alone; a commit that fails rejects all.
 * `failed` turns what the database throws into the error that callers get.
 */
export function createBatch<Tx>(start: () => Promise<Unit<Tx>>, failed: (cause: unknown) => unknown): Batch<Tx> {
  let waiting: Job<Tx>[] = []
  let acts: (() => void)[] = []
  let running: Promise<void> | null = null

  function actBetween(): void {
    const due = acts
    acts = []
    for (const act of due) act()
  }

  async function drain(): Promise<void> {
    // A turn of the loop, so that all requests that have arrived by now take part.
    await new Promise<void>((resolve) => setImmediate(resolve))
    while (waiting.length > 0 || acts.length > 0) {
      actBetween()
      const jobs = waiting.slice(0, LARGEST)
      waiting = waiting.slice(LARGEST)
      if (jobs.length > 0) await commitTogether(jobs, start, failed)
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
    running = null
  }

  return {
    run: <T>(work: (tx: Tx) => Promise<T>) =>
      new Promise<T>((resolve, reject) => {
        // The job list holds works of every type; each resolve gets exactly what its own work gave.
        waiting.push({ work, resolve: resolve as (value: unknown) => void, reject })
        running ??= drain()
      }),
    between: (act) =>
      new Promise((resolve, reject) => {
        acts.push(() => {
          try {
            resolve(act())
          } catch (cause) {
            reject(failed(cause))
          }
        })
        running ??= drain()
      }),
    idle: async () => {
      while (running !== null) await running
    },
  }
}

async function commitTogether<Tx>(
  jobs: readonly Job<Tx>[],
  start: () => Promise<Unit<Tx>>,
  failed: (cause: unknown) => unknown,
): Promise<void> {
  const tell: (() => void)[] = []
  let unit: Unit<Tx> | null = null
  try {
    unit = await start()
    for (const job of jobs) {
      const only = jobs.length === 1
      await unit.begin(only)
      const outcome = await attempt(job, unit)
      // Nothing else is in the transaction: it goes as a whole.
      if (only && outcome.kind === 'undone') throw outcome.cause
      if (outcome.kind === 'kept') tell.push(() => job.resolve(outcome.value))
      else job.reject(failed(outcome.cause))
    }
    await unit.commit()
  } catch (cause) {
    await rollBack(unit)
    for (const job of jobs) job.reject(failed(cause))
    return
  }
  for (const one of tell) one()
}

type Outcome = { readonly kind: 'kept'; readonly value: unknown } | { readonly kind: 'undone'; readonly cause: unknown }

async function attempt<Tx>(job: Job<Tx>, unit: Unit<Tx>): Promise<Outcome> {
  try {
    const value = await job.work(unit.tx)
    await unit.keep()
    return { kind: 'kept', value }
  } catch (cause) {
    await unit.undo()
    return { kind: 'undone', cause }
  }
}

async function rollBack<Tx>(unit: Unit<Tx> | null): Promise<void> {
  try {
    await unit?.rollback()
  } catch {
    // SQLite has rolled back by itself after some errors; then there is no transaction left to end.
  }
}
