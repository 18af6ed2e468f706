import { setTimeout as sleep } from 'node:timers/promises'
import type { Script } from '../scenarios/flaky-provider.ts'
import type { Chance } from './chance.ts'

/** Who sends every letter, and gets the bounces. */
export const SENDER = 'anna@acme.example'
/** Refused for good, always. */
export const GONE = 'gone@example.net'

/** Widens the moments in which a kill hurts, and does nothing else. */
export function slow(chance: Chance): Script {
  return async ({ phase }) => {
    if (phase === 'answer' || phase === 'data') await sleep(chance() * 60)
    return undefined
  }
}

/** A provider on a bad day: stalls, now and then beyond the gateway's budget; refuses, for now and for good; drops, also after the dot. */
export function unkind(chance: Chance): Script {
  return async ({ phase, line, recipients }) => {
    const luck = chance()
    await sleep(luck < 0.003 ? 7_000 : luck < 0.05 ? chance() * 2_000 : chance() * 30)
    if (phase === 'rcpt') {
      if (line.includes(GONE)) return '550 5.1.1 no such user'
      return luck > 0.96 ? '450 4.2.1 busy mailbox, try later' : undefined
    }
    if (phase === 'mail' || phase === 'data') return luck > 0.98 ? '451 4.3.0 try later' : undefined
    if (phase === 'banner') return luck > 0.97 ? '421 4.3.2 closing' : undefined
    if (phase === 'content') return luck > 0.98 ? null : undefined
    // Who refuses a bounce for good has the last word: nobody is left who could be told.
    const isBounce = recipients.includes(SENDER)
    if (phase === 'dot') return luck > 0.99 && !isBounce ? '554 5.6.0 not this one' : luck > 0.97 ? null : undefined
    // Kept, and nobody is told.
    if (phase === 'answer') return luck > 0.97 ? null : undefined
    return undefined
  }
}
