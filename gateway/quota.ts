import { pause } from './api-call.ts'

/** A provider's budget of units for each key, refilled steadily, such as Gmail's quota units per user and minute. */
export type Quota = {
  /** Waits until so many units are there and takes them; false, with nothing taken, if that is later than `until` or the signal ended it. */
  spend(key: string, units: number, signal: AbortSignal, until: number): Promise<boolean>
}

type Account = { units: number; at: number }

/** Keys that are remembered at the same time; those with a full account need not be. */
const KEPT = 10_000

export function createQuota(unitsPerMinute: number): Quota {
  const accounts = new Map<string, Account>()
  const perMs = unitsPerMinute / 60_000

  function accountOf(key: string): Account {
    const now = performance.now()
    const account = accounts.get(key) ?? { units: unitsPerMinute, at: now }
    account.units = Math.min(unitsPerMinute, account.units + (now - account.at) * perMs)
    account.at = now
    if (accounts.size >= KEPT) for (const [name, { at }] of accounts) if (now - at > 60_000) accounts.delete(name)
    accounts.set(key, account)
    return account
  }

  return {
    async spend(key, units, signal, until) {
      const account = accountOf(key)
      const wait = Math.max(0, (units - account.units) / perMs)
      if (signal.aborted || performance.now() + wait >= until) return false
      // Taken at once, so that those who come later wait longer.
      account.units -= units
      if (wait === 0 || (await pause(wait, signal))) return true
      account.units += units
      return false
    },
  }
}
