import type { Kept } from '../scenarios/flaky-provider.ts'
import type { Trouble } from '../scenarios/trouble.ts'
import type { Kill } from './killing.ts'
import type { Handed } from './load.ts'
import { SENDER } from './unkind.ts'

/** Between the provider's keeping a mail and the durable note of its answer, at worst; and how long a killed key server is away. */
const NOTED = 2_000
const AWAY = 8_000
/** Where a bounce tells what it is about. */
const LONGEST_BOUNCE = 65_536
const LONGEST_HEADER = 16_384

/** What became of the letters. */
export type Ledger = {
  /** Letters answered 250. */
  readonly accepted: number
  /** Letters answered 5xx, and those that were still not answered at the end. */
  readonly refused: number
  readonly unanswered: number
  /** Recipients of accepted letters that the provider keeps it for; that it was bounced for; and for whom there is neither. */
  readonly arrived: number
  readonly bounced: number
  readonly lost: readonly string[]
  /** Copies that another followed: the answer was cut off; somebody died before it was noted; and those that nothing explains. */
  readonly doubles: number
  readonly cutOff: number
  readonly killed: number
  readonly unexplained: readonly string[]
}

export function ledgerOf(trouble: Trouble, handed: readonly Handed[], kills: readonly Kill[]): Ledger {
  const { kept } = trouble.provider
  const byLetter = Map.groupBy(kept, messageIdIn)
  const copiesOf = (id: string, to: string) =>
    (byLetter.get(id) ?? []).filter(({ recipients }) => recipients.includes(to))
  const bounces = kept.filter(({ recipients }) => recipients.includes(SENDER)).map(bounceOf)
  const last = ({ attempts }: Handed) => attempts.at(-1)?.code ?? 0
  const accepted = handed.filter((one) => last(one) === 250)
  const owed = accepted.flatMap(({ letter }) => letter.to.map((to) => ({ letter, to })))
  const settled = owed.map(({ letter, to }) => {
    const arrived = copiesOf(letter.id, to).length > 0
    const bounced = bounces.some((bounce) => bounce.includes(letter.id) && bounce.includes(`rfc822;${to}`))
    return { arrived, bounced, name: `${letter.id} for ${to}` }
  })
  // Whatever the client was told in the end, nobody gets a letter twice without a reason.
  const copies = handed.flatMap(({ letter }) => letter.to.map((to) => copiesOf(letter.id, to)))
  const doubled = copies.filter((same) => same.length > 1)
  const followed = doubled.flatMap((same) => same.slice(0, -1))
  const cutOff = followed.filter(({ answered }) => !answered)
  const killed = followed.filter((copy) => copy.answered && isExplained(copy, kills))
  const unexplained = followed.filter((copy) => copy.answered && !isExplained(copy, kills)).map(tell)
  const differing = doubled.filter((same) => new Set(same.map(linkIn)).size > 1).map(() => 'two links for one letter')
  return {
    accepted: accepted.length,
    refused: handed.filter((one) => last(one) >= 500).length,
    unanswered: handed.filter((one) => last(one) !== 250 && last(one) < 500).length,
    arrived: settled.filter(({ arrived }) => arrived).length,
    bounced: settled.filter(({ bounced }) => bounced).length,
    lost: settled.filter(({ arrived, bounced }) => !arrived && !bounced).map(({ name }) => name),
    doubles: followed.length,
    cutOff: cutOff.length,
    killed: killed.length,
    unexplained: [...unexplained, ...differing],
  }
}

function messageIdIn({ octets }: Kept): string {
  const head =
    octets
      .subarray(0, LONGEST_HEADER)
      .toString('latin1')
      .split(/\r?\n\r?\n/, 1)[0] ?? ''
  return /^Message-ID: (<[^>]+>)/im.exec(head)?.[1] ?? ''
}

function bounceOf({ octets }: Kept): string {
  return octets.subarray(0, LONGEST_BOUNCE).toString('latin1')
}

function linkIn({ octets }: Kept): string {
  return /\/m\/[\w-]{22}/.exec(octets.toString('latin1').replaceAll('=\r\n', ''))?.[0] ?? ''
}

/**
 * Whether its gateway or the provider died after this copy was kept, and before the answer to it can have been noted: soon after, or
 * somewhat later where the key server was away.
 */
function isExplained(copy: Kept, kills: readonly Kill[]): boolean {
  const carrier = carrierOf(copy)
  const away = kills.some(({ victim, at }) => victim === 'keyserver' && at > copy.at - AWAY && at < copy.at + NOTED)
  const noted = copy.at + NOTED + (away ? AWAY : 0)
  return kills.some(
    ({ victim, at, until }) => (victim === carrier || victim === 'provider') && until >= copy.at && at <= noted,
  )
}

function carrierOf({ octets }: Kept): string {
  return /\bby (gw[12])\.acme\.example\b/.exec(octets.toString('latin1'))?.[1] ?? ''
}

function tell(copy: Kept): string {
  const link = linkIn(copy)
  return `${link} kept at ${new Date(copy.at).toISOString()} through ${carrierOf(copy)}, ${copy.answered ? '' : 'not '}answered`
}

/** Envelopes whose recipient was named in a confirm after an outcome said that it was sent. */
export function deliveriesAfterSent(trouble: Trouble): string[] {
  const sent = new Set<string>()
  return trouble.records().flatMap((record) => {
    if (record.kind === 'outcome' && record.outcome === 'sent') sent.add(record.envelope + record.recipient.pseudonym)
    if (record.kind !== 'confirmed') return []
    return record.recipients.some((one) => sent.has(record.envelope + one.pseudonym)) ? [record.envelope] : []
  })
}
