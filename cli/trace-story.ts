import type { Person } from '../audit/fields.ts'
import type { AuditRecord } from '../audit/kinds.ts'
import { decodeLeaf, personsOf } from '../audit/record.ts'
import type { EnvelopeRow, RecipientRow, TraceDatabase } from './trace-database.ts'
import { eventOf } from './trace-event.ts'
import type { Values } from './trace-names.ts'

/** What is known of one recipient of an envelope. Times are RFC 3339 in UTC. */
export type RecipientStory = {
  readonly address: string
  readonly state: RecipientRow['state']
  /** The provider's last answer; null where there is none, its text null where it is sealed. */
  readonly answer: {
    readonly at: string
    readonly outcome: string
    readonly status: string
    readonly text: string | null
  } | null
  readonly codes: number
  readonly wrongCodes: number
  readonly opens: number
  readonly lastOpen: string | null
  readonly refusals: number
}

/** One envelope from acceptance to its end, for a person who asks where it is. */
export type Story = {
  readonly envelope: string
  readonly organization: string
  readonly verdict: EnvelopeRow['kind']
  readonly rule: string
  readonly policyHash: string
  readonly gateway: string
  readonly sender: string | null
  readonly accepted: string
  readonly confirmed: string | null
  readonly expires: string | null
  readonly revoked: string | null
  readonly shredded: string | null
  readonly recipients: readonly RecipientStory[]
  readonly events: readonly { readonly at: string; readonly text: string }[]
}

/** Whom and what a record names, as far as it can be read. */
export type Naming = {
  readonly person: (person: Person) => string
  /** The clear value behind a commitment, or null. */
  readonly value: (commitment: string | null) => string | null
}

type Told = { readonly record: AuditRecord; readonly naming: Naming }

export type StoryParts = { readonly database: TraceDatabase; readonly values: Values | null }

/** Tells what rows and log hold of one envelope. A leaf that cannot be read is left out: `sealpost audit verify` is who names it. */
export async function tellStory({ database, values }: StoryParts, row: EnvelopeRow): Promise<Story> {
  const told: Told[] = []
  for (const leaf of database.leaves(row)) {
    const decoded = decodeLeaf(leaf.record)
    if (decoded.kind !== 'leaf') continue
    const { record } = decoded.leaf
    const opened = (await values?.beside(row.org, leaf.side, personsOf(record))) ?? new Map<string, string>()
    told.push({
      record,
      naming: {
        person: ({ pseudonym, address }) =>
          database.addressOf(row.org, pseudonym) ?? opened.get(address) ?? `person ${pseudonym}`,
        value: (commitment) => (commitment === null ? null : (opened.get(commitment) ?? null)),
      },
    })
  }
  const seen = new Set<string>()
  return {
    envelope: row.id,
    organization: row.org,
    verdict: row.kind,
    rule: row.rule,
    policyHash: row.policyHash,
    gateway: row.gateway,
    sender: row.sender,
    accepted: time(row.issuedAt),
    confirmed: timeOrNull(row.confirmedAt),
    expires: timeOrNull(row.expiresAt),
    revoked: timeOrNull(row.revokedAt),
    shredded: timeOrNull(row.shreddedAt),
    recipients: database.recipients(row).map((recipient) => recipientStory(recipient, told)),
    events: told.flatMap(({ record, naming }) => {
      const text = eventOf(record, naming, seen.has(record.kind))
      seen.add(record.kind)
      return text === null ? [] : [{ at: record.time, text }]
    }),
  }
}

function recipientStory({ address, state }: RecipientRow, told: readonly Told[]): RecipientStory {
  const own = told.filter(({ record, naming }) => {
    const person = personOf(record)
    return person !== null && naming.person(person) === address
  })
  const count = (kind: AuditRecord['kind']) => own.filter(({ record }) => record.kind === kind).length
  let answer: RecipientStory['answer'] = null
  for (const { record, naming } of own) {
    if (record.kind !== 'outcome') continue
    answer = { at: record.time, outcome: record.outcome, status: record.status, text: naming.value(record.reply) }
  }
  return {
    address,
    state,
    answer,
    codes: count('code-sent'),
    wrongCodes: count('code-refused'),
    opens: count('released'),
    lastOpen: own.findLast(({ record }) => record.kind === 'released')?.record.time ?? null,
    refusals: count('release-refused') + count('ticket-refused'),
  }
}

/** Whom a record is about, where it is one person. */
function personOf(record: AuditRecord): Person | null {
  if (record.kind === 'outcome') return record.recipient
  return 'person' in record ? record.person : null
}

function time(at: number): string {
  return new Date(at).toISOString()
}

function timeOrNull(at: number | null): string | null {
  return at === null ? null : time(at)
}
