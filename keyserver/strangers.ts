import { createHmac } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import type { Journal, LogName } from './journal.ts'
import type { Keyring } from './keyring.ts'
import type { Store } from './store.ts'

/**
 * Counts the refusals of people who are not known here, and writes one record per network, reason and minute: a flood cannot fill
 * the log.
 */
export interface Strangers {
  /** `reason` is of a closed set: a problem code or a word of ours. */
  count(log: LogName, network: string, reason: string): void
  /** Writes what was counted. Throws nothing: what cannot be written now is tried again with the next. */
  flush(): Promise<void>
}

export type StrangersParts = {
  readonly store: Store
  readonly journal: Journal
  readonly keyring: Keyring
  readonly log: FastifyBaseLogger
  /** Milliseconds since 1970 UTC. */
  readonly now: () => number
}

type Tally = {
  readonly log: LogName
  readonly network: string
  readonly reason: string
  readonly minute: number
  count: number
}

const MINUTE = 60_000
/** Records that one minute can make. What comes from further networks is counted together, under `elsewhere`. */
const CAPACITY = 500

export function createStrangers({ store, journal, keyring, log, now }: StrangersParts): Strangers {
  const secret = keyring.derive('sealpost/networks/v1')
  let tallies = new Map<string, Tally>()
  const commit = (network: string) => createHmac('sha256', secret).update(network).digest('base64url')

  function add(tally: Tally): void {
    const { log, network, reason, minute } = tally
    const key = `${log}\n${network}\n${reason}\n${minute}`
    const known = tallies.get(key)
    if (known !== undefined) known.count += tally.count
    else if (tallies.size < CAPACITY || network === 'elsewhere') tallies.set(key, { ...tally })
    else add({ ...tally, network: 'elsewhere' })
  }
  return {
    count: (log, network, reason) => {
      add({ log, network, reason, minute: Math.floor(now() / MINUTE) * MINUTE, count: 1 })
    },
    async flush() {
      const due = [...tallies.values()]
      tallies = new Map()
      if (due.length === 0) return
      try {
        await store.transact(async (tx) => {
          const time = new Date(now()).toISOString()
          for (const { log, network, reason, minute, count } of due) {
            const counted = {
              network: commit(network),
              pseudonym: null,
              minute: new Date(minute).toISOString(),
              reason,
              count,
            }
            journal.append(tx, log, new Map(), () => ({ kind: 'strangers', time, request: null, ...counted }))
          }
        })
      } catch (cause) {
        log.error({ err: cause }, 'refusals could not be recorded yet')
        for (const tally of due) add(tally)
      }
    },
  }
}
