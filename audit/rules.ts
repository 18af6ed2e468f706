import type { FaultKind } from './fault.ts'
import type { AuditRecord, RecordOf } from './kinds.ts'

/** How far a time may lie behind the highest one before it: what is decided side by side is written in the order of its commits. */
export const TIME_SLACK_MS = 60_000

/** What the records of one log must be to each other, whatever the tree says. */
export type Rules = {
  /** Records are missing here: what later ones presume can no longer be asked for. */
  lose(): void
  /** Looks at the next record and says what is wrong with it, in words that go on from "leaf 7". */
  observe(index: number, record: AuditRecord): readonly { readonly kind: FaultKind; readonly text: string }[]
}

type Life = {
  expires: number
  confirmed: boolean
  held: boolean
  end: { readonly index: number; readonly kind: string } | null
}

/**
 * The rules: no release of an envelope that was not issued and confirmed, none while it is held, none after its revocation, return, expiry,
 * withdrawal or shredding, none after the end of its time; times run on. A `clock` record excuses the records after it, but no release unless an officer accepted
 * the clock.
 */
export function createRules(): Rules {
  const lives = new Map<string, Life>()
  const clock = createClock()
  let whole = true

  function release(record: RecordOf<'released'>): readonly string[] {
    const life = lives.get(record.envelope)
    if (life === undefined) return whole ? ['releases an envelope that was never issued'] : []
    const faults: string[] = []
    if (!life.confirmed && !life.held && whole) faults.push('releases an envelope that was never confirmed')
    if (life.end !== null)
      faults.push(`is a release after leaf ${life.end.index} (${life.end.kind}) ended the envelope`)
    else if (life.held) faults.push('releases an envelope that is held')
    else if (Date.parse(record.time) > life.expires + TIME_SLACK_MS)
      faults.push('is a release after the envelope expired')
    return faults
  }

  function follow(index: number, record: AuditRecord): readonly string[] {
    switch (record.kind) {
      case 'issued':
        lives.set(record.envelope, {
          expires: Date.parse(record.expiresAt),
          confirmed: false,
          held: false,
          end: null,
          ...lives.get(record.envelope),
        })
        return []
      case 'released':
        return release(record)
      case 'confirmed':
      case 'held':
      case 'let-go':
      case 'returned':
      case 'extended':
      case 'revoked':
      case 'expired':
      case 'withdrawn':
      case 'shredded':
        change(lives.get(record.envelope), index, record)
        return []
      default:
        return []
    }
  }

  return {
    lose: () => {
      whole = false
    },
    observe: (index, record) => [
      ...follow(index, record).map((text) => ({ kind: 'rule-broken' as const, text })),
      ...clock(record).map((text) => ({ kind: 'time-runs-back' as const, text })),
    ],
  }
}

type Change = Extract<
  AuditRecord,
  {
    readonly kind:
      | 'confirmed'
      | 'held'
      | 'let-go'
      | 'returned'
      | 'extended'
      | 'revoked'
      | 'expired'
      | 'withdrawn'
      | 'shredded'
  }
>

function change(life: Life | undefined, index: number, record: Change): void {
  if (life === undefined) return // Mail that passes unsealed is confirmed too, and has no life of its own.
  switch (record.kind) {
    case 'confirmed':
      life.confirmed = true
      return
    case 'held':
      life.held = true
      return
    case 'let-go':
      life.held = false
      life.expires = Date.parse(record.expiresAt)
      return
    case 'extended':
      life.expires = Date.parse(record.expiresAt)
      if (life.end?.kind === 'expired') life.end = null
      return
    default:
      life.end ??= { index, kind: record.kind }
  }
}

function createClock(): (record: AuditRecord) => readonly string[] {
  let highest = Number.NEGATIVE_INFINITY
  let floor = Number.NEGATIVE_INFINITY
  return (record) => {
    const now = Date.parse(record.time)
    if (record.kind === 'clock') floor = now
    if (record.kind === 'clock' && record.state === 'accepted') highest = now
    const back = record.kind === 'released' ? highest - now : floor - now
    highest = Math.max(highest, now)
    floor = Math.max(floor, now)
    return back > TIME_SLACK_MS ? [`lies ${Math.round(back / 1000)} seconds behind an earlier one`] : []
  }
}
