import type { AuditRecord, RecordOf } from '../audit/kinds.ts'
import type { Naming } from './trace-story.ts'

/** Named in one line; the rest are counted. */
const NAMED = 5

/**
 * One record as a sentence for the help desk, or null where it says nothing about where the mail is. `again` says that a record of its kind
 * came before.
 */
export function eventOf(record: AuditRecord, naming: Naming, again: boolean): string | null {
  const from = (commitment: string | null) => {
    const network = naming.value(commitment)
    return network === null ? '' : `, from ${network}`
  }
  switch (record.kind) {
    case 'issued':
    case 'passed':
    case 'refused-mail':
      return judged(record, naming, again)
    case 'confirmed':
      return `handing it to the next hop for ${list(record.recipients.map(naming.person))}`
    case 'held':
      return `HELD at gateway ${record.gateway} for ${list(record.recipients.map(naming.person))}, until an officer decides, ${record.until} at the latest`
    case 'let-go':
      return `LET GO by ${actor(record.by, naming)}: ${record.reason}; can be opened until ${record.expiresAt}`
    case 'returned':
      return `SENT BACK by ${actor(record.by, naming)}: ${record.reason}`
    case 'hold-refused':
      return `not ${record.asked === 'release' ? 'let go' : 'sent back'}, as ${actor(record.by, naming)} asked for: ${record.reason}`
    case 'confirm-refused':
      return `not handed on: ${record.reason}`
    case 'outcome':
      return outcome(record, naming)
    case 'code-sent':
      return `code mailed to ${naming.person(record.person)}${from(record.network).replace(',', ', asked for')}`
    case 'code-refused':
      return `${record.reason === 'wrong-code' ? 'wrong code' : `code not taken (${record.reason})`} for ${naming.person(record.person)}${from(record.network)}`
    case 'session':
      return `${naming.person(record.person)} proved the address by a code${from(record.network)}`
    case 'ticket':
      return `sealed copy fetched for ${naming.person(record.person)}${from(record.network)}`
    case 'ticket-refused':
      return `sealed copy refused to ${naming.person(record.person)}: ${reasonWords(record.reason)}`
    case 'released':
      return `OPENED by ${naming.person(record.person)}${record.role === 'sender' ? ' (the sender)' : ''}, rule "${record.rule}"${from(record.network)}`
    case 'release-refused':
      return `NOT opened by ${naming.person(record.person)}: ${reasonWords(record.reason)}${record.rule === null ? '' : `, rule "${record.rule}"`}${from(record.network)}`
    case 'revoked':
      return `REVOKED by ${actor(record.by, naming)}${record.by.role === 'sender' ? '' : `: ${record.reason}`}`
    case 'revoke-refused':
      return `not revoked, as ${actor(record.by, naming)} asked for: ${record.reason}`
    case 'extended':
      return `extended to ${record.expiresAt} by ${actor(record.by, naming)}: ${record.reason}`
    case 'expired':
      return 'expired'
    case 'withdrawn':
      return `withdrawn: ${record.reason}`
    case 'shredded':
      return `key destroyed for good (${record.cause})`
    default:
      return null
  }
}

type Judged = RecordOf<'issued'> | RecordOf<'passed'> | RecordOf<'refused-mail'>

const verdicts = { issued: 'to be sealed', passed: 'to pass unsealed', 'refused-mail': 'REFUSED' } as const

function judged(record: Judged, naming: Naming, again: boolean): string {
  const word = again ? 'tried again' : record.kind === 'refused-mail' ? 'received' : 'accepted'
  const to = list(record.recipients.map(naming.person))
  return `${word} at gateway ${record.gateway}: ${verdicts[record.kind]}, by rule "${record.rule}", for ${to}`
}

function outcome(record: RecordOf<'outcome'>, naming: Naming): string {
  const who = naming.person(record.recipient)
  const said = naming.value(record.reply) ?? record.status
  const answer = said === '' ? '' : `: ${said}`
  switch (record.outcome) {
    case 'sent':
      return `next hop took it for ${who}${answer}`
    case 'deferred':
      return `next hop put it off for ${who}${answer}`
    case 'failed':
      return `next hop REFUSED it for ${who}${answer}`
    case 'unknown':
      return `no answer from the next hop for ${who}, who may have it or not${answer}`
  }
}

function actor(by: RecordOf<'revoked'>['by'], naming: Naming): string {
  if (by.person !== null)
    return by.role === 'sender' ? `the sender ${naming.person(by.person)}` : naming.person(by.person)
  return by.name === null ? `the ${by.role}` : `${by.role} ${by.name}`
}

const reasons: Readonly<Record<string, string>> = {
  revoked: 'it is revoked',
  expired: 'it has expired',
  held: 'it is held, and not sent yet',
  'denied-by-rule': 'the policy denies it',
  'stronger-proof-needed': 'a stronger proof is needed',
  'too-many': 'too many opened within an hour',
  unavailable: 'no policy was in force',
  'bad-request': 'the file is altered, or is another message',
}

function reasonWords(reason: string): string {
  return reasons[reason] ?? reason
}

function list(names: readonly string[]): string {
  const rest = names.length - NAMED
  return rest > 0 ? `${names.slice(0, NAMED).join(', ')} and ${rest} more` : names.join(', ')
}
