import { setTimeout as sleep } from 'node:timers/promises'
import { type Attempt, attempt, type Letter, letter } from '../scenarios/retrying-client.ts'
import type { Chance } from './chance.ts'

export type Handed = { readonly letter: Letter; readonly attempts: readonly Attempt[] }

export type Clock = {
  /** No letter is begun any more. */
  over: boolean
  /** No attempt is made any more, unix milliseconds. */
  deadline: number
}

/** One client: letter after letter, each until it has its 250 or is refused for good, through whichever gateway. */
export async function handIn(
  ports: readonly number[],
  recipients: readonly (readonly string[])[],
  chance: Chance,
  clock: Readonly<Clock>,
): Promise<Handed[]> {
  const oneOf = <T>(some: readonly T[]): T | undefined => some[Math.floor(chance() * some.length)]
  const handed: Handed[] = []
  while (!clock.over) {
    const mail = letter(oneOf(recipients) ?? [], { size: chance() < 0.1 ? 1_500_000 : chance() * 60_000 })
    const attempts: Attempt[] = []
    do {
      attempts.push(await attempt(oneOf(ports) ?? 0, mail, 8_000))
      await sleep(100 + chance() * 400)
    } while (!isAnswered(attempts.at(-1)) && Date.now() < clock.deadline)
    handed.push({ letter: mail, attempts })
    await sleep(chance() * 1_000)
  }
  return handed
}

function isAnswered(last: Attempt | undefined): boolean {
  return last !== undefined && (last.code === 250 || last.code >= 500)
}
