import { setTimeout as sleep } from 'node:timers/promises'
import type { ProcessName, Trouble } from '../scenarios/trouble.ts'
import type { Chance } from './chance.ts'

type Victim = ProcessName | 'provider'
/** Between `at` and `until` it died, unix milliseconds. */
export type Kill = { readonly victim: Victim; readonly at: number; readonly until: number }

export type Killing = {
  readonly kills: number
  /** Between two of them at most, milliseconds. */
  readonly pause: number
  /** For all of them; on a slow machine there are fewer. Milliseconds. */
  readonly longest: number
}

/** Kills whoever is up, at any moment, also while others are still coming back. */
export async function killAround(trouble: Trouble, chance: Chance, killing: Killing): Promise<Kill[]> {
  const shares: readonly Victim[] = ['gw1', 'gw1', 'gw2', 'gw2', 'keyserver', 'provider']
  const kills: Kill[] = []
  const coming = new Map<Victim, Promise<void>>()
  const end = Date.now() + killing.longest
  while (kills.length < killing.kills && Date.now() < end) {
    await sleep(chance() * killing.pause)
    const up = shares.filter((one) => !coming.has(one))
    const victim = up[Math.floor(chance() * up.length)]
    if (victim === undefined) continue
    const at = Date.now()
    await (victim === 'provider' ? trouble.provider.kill() : trouble.kill(victim))
    kills.push({ victim, at, until: Date.now() })
    const back = victim === 'provider' ? sleep(300).then(trouble.provider.start) : trouble.start(victim)
    coming.set(
      victim,
      back.finally(() => coming.delete(victim)),
    )
  }
  await Promise.all(coming.values())
  return kills
}
