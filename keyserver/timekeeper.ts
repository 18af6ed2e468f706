import type { AuditRecord } from '../audit/kinds.ts'
import { type Clock, type ClockState, createClock, type TimeSource } from './clock.ts'
import { type Journal, nobody } from './journal.ts'
import type { Store, Tx } from './store.ts'

/** A clock that knows what earlier runs saw. */
export async function openClock(store: Store, source: TimeSource): Promise<Clock> {
  const { seen, waiting } = await store.read(async (reads) => ({
    seen: await reads.meta.get('highest-time'),
    waiting: await reads.meta.get('shredding'),
  }))
  return createClock(source, seen === null ? null : Number(seen), waiting === null || waiting === '' ? null : waiting)
}

/** One look at the clock: keeps the highest time seen, and writes into the log when its state changed since the last look. */
export function createTimekeeper(store: Store, journal: Journal, clock: Clock): () => Promise<void> {
  let last: ClockState['kind'] = 'good'
  return async () => {
    const state = clock.state()
    const observed = clock.now()
    await store.transact(async (tx) => {
      await keepTime(tx, clock)
      if (state.kind !== last) journal.append(tx, 'server', nobody, () => record(state.kind, observed, clock.highest()))
    }, 'upkeep')
    last = state.kind
  }
}

/** Keeps what the next run must know of the clock: the highest time seen, and whether shredding waits for an officer. */
export async function keepTime(tx: Tx, clock: Clock): Promise<void> {
  const state = clock.state()
  await tx.meta.set('highest-time', String(clock.highest()))
  if (state.kind === 'jumped') await tx.meta.set('shredding', state.because)
}

function record(kind: ClockState['kind'], observed: number, highest: number): AuditRecord {
  const time = new Date(observed).toISOString()
  const state = kind === 'good' ? 'restored' : kind
  return { kind: 'clock', time, request: null, state, observed: time, highest: new Date(highest).toISOString() }
}
