import { createHmac } from 'node:crypto'
import type { Address, EnvelopeId, OrgId } from '../protocol/identifiers.ts'
import type { Limits as LimitValues } from './config.ts'
import type { Keyring } from './keyring.ts'
import type { Counters } from './store.ts'

type Who = { readonly org: OrgId; readonly address: Address }
type Asking = {
  /** As typed, comparable form. */
  readonly address: Address
  readonly network: string
  readonly thumbprint: string
  readonly envelope: EnvelopeId
}

/** The limits that outlive a restart. Keys in the database are HMACs: the table tells nobody who asked for what. */
export interface Limits {
  /** Counts a request for a code; 0, or the seconds to wait where it is one too many (then nothing is counted). */
  askCode(counters: Counters, asking: Asking, now: number): Promise<number>
  /** Whether this address has had its wrong answers of the day, over all browsers. */
  answersSpent(counters: Pick<Counters, 'count'>, address: Address, now: number): Promise<boolean>
  wrongAnswer(counters: Counters, address: Address, now: number): Promise<void>
  /** Messages that this person may still open in this hour. */
  opensLeft(counters: Pick<Counters, 'count'>, who: Who, now: number): Promise<number>
  open(counters: Counters, who: Who, now: number): Promise<void>
}

const HOUR = 3_600_000
const DAY = 24 * HOUR
/** The same browser asks again for the same message and address. */
const REPEAT = 30_000

export function createLimits(values: LimitValues, keyring: Keyring): Limits {
  const secret = keyring.derive('sealpost/counters/v1')
  const key = (name: string, ...parts: readonly string[]) =>
    `${name}:${createHmac('sha256', secret).update(parts.join('\n')).digest('base64url').slice(0, 22)}`
  const opens = ({ org, address }: Who) => key('opens', org, address)
  const wrong = (address: Address) => key('wrong', address)

  return {
    async askCode(counters, { address, network, thumbprint, envelope }, now) {
      const bounds = [
        { key: key('repeat', thumbprint, envelope, address), most: 1, span: REPEAT },
        { key: key('codes', address), most: values.codesPerAddressPerHour, span: HOUR },
        { key: key('network', network), most: values.codesPerNetworkPerHour, span: HOUR },
      ]
      for (const bound of bounds) {
        if ((await counters.count(bound.key, now)) >= bound.most) return bound.span / 1000
      }
      for (const bound of bounds) await counters.add(bound.key, 1, now, now + bound.span)
      return 0
    },
    answersSpent: async (counters, address, now) =>
      (await counters.count(wrong(address), now)) >= values.wrongCodesPerAddressPerDay,
    wrongAnswer: async (counters, address, now) => void (await counters.add(wrong(address), 1, now, now + DAY)),
    opensLeft: async (counters, who, now) =>
      Math.max(0, values.opensPerPersonPerHour - (await counters.count(opens(who), now))),
    open: async (counters, who, now) => void (await counters.add(opens(who), 1, now, now + HOUR)),
  }
}
