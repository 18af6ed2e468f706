import type { EnvelopeRow } from './trace-database.ts'
import type { RecipientStory, Story } from './trace-story.ts'

/** More than a screen holds is counted; `--json` has all of it. */
const RECIPIENTS = 20
const EVENTS = 40

/** A story as lines for a person; times in UTC. `now` in milliseconds. */
export function storyLines(story: Story, now: number): readonly string[] {
  const { recipients, events } = story
  const width = Math.min(40, Math.max(...recipients.map(({ address }) => address.length), 0))
  const hidden = recipients.length - RECIPIENTS
  const earlier = events.length - EVENTS
  return [
    `Envelope ${story.envelope} of ${story.organization}`,
    `  from      ${story.sender ?? '<> (a report or automatic mail)'}`,
    `  accepted  ${moment(story.accepted)} UTC at gateway ${story.gateway}`,
    `  verdict   ${verdictWords[story.verdict]}, by rule "${story.rule}" (policy ${story.policyHash.slice(0, 12)})`,
    `  now       ${standing(story, now)}`,
    '',
    ...recipients.slice(0, RECIPIENTS).map((one) => `  ${one.address.padEnd(width)}  ${recipientWords(one, story)}`),
    ...(hidden > 0 ? [`  and ${hidden} recipients more: see --json`] : []),
    '',
    ...(earlier > 0 ? [`  ${earlier} earlier lines are in --json`] : []),
    ...events.slice(-EVENTS).map(({ at, text }) => `  ${moment(at)}  ${text}`),
  ].map(visible)
}

/** One of many, in a line. */
export function rowLine(row: EnvelopeRow, recipients: readonly string[]): string {
  const [first = 'nobody', ...others] = recipients
  const to = others.length === 0 ? first : `${first} and ${others.length} more`
  const ended = row.revokedAt !== null ? ', revoked' : ''
  const at = moment(new Date(row.issuedAt).toISOString())
  return visible(
    `${row.id}  ${at}  ${row.sender ?? '<>'} to ${to}  ${verdictWords[row.kind]}${ended}, rule "${row.rule}"`,
  )
}

const verdictWords = { seal: 'sealed', pass: 'passed unsealed', refuse: 'refused', hold: 'held' } as const

function standing(story: Story, now: number): string {
  const { verdict, revoked, shredded, confirmed, expires } = story
  if (verdict === 'refuse') return 'nothing left the house; the sender was told why at once'
  if (confirmed === null) return 'not handed to the next hop yet'
  if (verdict === 'pass') return 'gone on as it came; it opens like any mail, and nothing is recorded of that'
  if (revoked !== null) return `revoked ${moment(revoked)} UTC: nobody can open it any more`
  if (verdict === 'hold') return heldWords(story)
  if (expires !== null && Date.parse(expires) <= now)
    return `expired ${moment(expires)} UTC: nobody can open it any more`
  if (shredded !== null) return `its key was destroyed ${moment(shredded)} UTC`
  return expires === null ? 'can be opened' : `can be opened until ${moment(expires)} UTC`
}

/** Let go, it is a sealed one like any other. */
function heldWords({ shredded, expires, recipients }: Story): string {
  const isBack = shredded !== null || recipients.every(({ state }) => state === 'failed')
  if (isBack) return 'sent back to its sender; nobody can open it'
  const until = expires === null ? '' : `, until ${moment(expires)} UTC`
  return `held for an officer to decide${until}; nobody can open it meanwhile`
}

function recipientWords(recipient: RecipientStory, story: Story): string {
  return [deliveryWords(recipient, story), ...(story.verdict === 'seal' ? openWords(recipient) : [])].join('; ')
}

function deliveryWords({ state, answer }: RecipientStory, { verdict, rule }: Story): string {
  if (verdict === 'refuse') return `refused here by rule "${rule}"`
  if (verdict === 'hold') return state === 'failed' ? 'never sent' : 'not sent yet'
  const said = answer === null ? '' : ` ${moment(answer.at)} (${answer.text ?? answer.status})`
  switch (state) {
    case 'sent':
      return `taken by the next hop${said}`
    case 'failed':
      return `REFUSED by the next hop${said}, and the sender was told`
    case 'unknown':
      return `handed to the next hop, whose answer is missing${said}: it may have arrived, and is tried again`
    case 'open':
      return answer === null ? 'not handed to the next hop yet' : `put off by the next hop${said}, and tried again`
  }
}

function openWords({ opens, lastOpen, codes, wrongCodes, refusals }: RecipientStory): readonly string[] {
  return [
    opens === 0 || lastOpen === null ? 'not opened' : `opened ${times(opens)}, last ${moment(lastOpen)}`,
    ...(codes === 0 ? [] : [`${codes} ${codes === 1 ? 'code' : 'codes'} mailed`]),
    ...(wrongCodes === 0 ? [] : [`wrong code ${times(wrongCodes)}`]),
    ...(refusals === 0 ? [] : [`refused ${times(refusals)}`]),
  ]
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`
}

/** RFC 3339 to `2026-11-22 06:18:53`. */
function moment(at: string): string {
  return at.slice(0, 19).replace('T', ' ')
}

/** What others wrote, such as a provider, moves no cursor and turns no line round. */
function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, '?')
}
