import { parseArgs } from 'node:util'
import type { Static, TSchema } from '@sinclair/typebox'
import { Ajv } from 'ajv'
import { HeldList, HeldMail } from '../protocol/hold-api.ts'
import { type EnvelopeId, type OrgId, parseEnvelopeId, parseOrgId } from '../protocol/identifiers.ts'
import { formatDuration } from '../rulebook/index.ts'
import { shieldIds } from './dashed-id.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'
import { createOfficer, fieldOf, type Officer, officerOptions } from './officer.ts'

/** More than anybody reads in one go. */
const MOST = 10_000

const options = { ...officerOptions, reason: { type: 'string' }, json: { type: 'boolean' } } as const

/** `sealpost held list|show|release|return`: mail that a rule held, for an officer to let go or to send back. */
export async function held(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({ args: shieldIds(argv), options, allowPositionals: true })
  const [action, orgText, idText, ...more] = positionals
  if (action !== 'list' && action !== 'show' && action !== 'release' && action !== 'return') {
    throw new UsageError(`held: say list, show, release or return, not ${action ?? 'nothing'}`)
  }
  const org = parseOrgId(orgText ?? '')
  if (org === null) throw new UsageError(`held ${action}: say the organization first, such as acme.example`)
  if (more.length > 0 || (action === 'list' && idText !== undefined))
    throw new UsageError(`held ${action}: too much was said`)
  if (action === 'list') return list(createOfficer(values), org, values.json === true, io)
  const id = idIn(action, idText)
  if (action === 'show') return show(createOfficer(values), org, id, values.json === true, io)
  const reason = reasonIn(action, values.reason)
  const officer = createOfficer(values)
  const answer = await officer.post(`/v1/held/${action}`, { org, id, reason })
  if (values.json === true) io.out(JSON.stringify(answer))
  else
    io.out(
      action === 'release'
        ? letGoWords(id, answer)
        : `Sent back ${id}: nobody will open it, and its sender is told why.`,
    )
  return exits.ok
}

function letGoWords(id: EnvelopeId, answer: unknown): string {
  const until = fieldOf(answer, 'expiresAt')
  return `Let go ${id}: its gateway delivers it now. It can be opened ${until === undefined ? 'from now on' : `until ${until}`}.`
}

function idIn(action: string, text: string | undefined): EnvelopeId {
  const id = parseEnvelopeId(text ?? '')
  if (id !== null) return id
  throw new UsageError(`held ${action}: say which ID, 22 characters; sealpost held list shows them`)
}

/** The sender of what goes back reads the reason, so there must be one. */
function reasonIn(action: 'release' | 'return', given: string | undefined): string {
  const reason = given?.trim() ?? (action === 'release' ? 'let go' : '')
  if (reason !== '' && reason.length <= 512) return reason
  const whose = action === 'return' ? ', for the sender to read' : ''
  throw new UsageError(`held ${action}: give a --reason of 1 to 512 characters${whose}`)
}

async function list(officer: Officer, org: OrgId, json: boolean, io: Io): Promise<number> {
  const held: HeldMail[] = []
  for (let more = true; more && held.length < MOST; ) {
    const answer = read(HeldList, await officer.post('/v1/held/list', { org, skip: held.length }))
    held.push(...answer.held)
    more = answer.more && answer.held.length > 0
  }
  if (json) io.out(JSON.stringify({ held }))
  else if (held.length === 0) io.out('Nothing is held.')
  else for (const mail of held) io.out(line(mail))
  return exits.ok
}

async function show(officer: Officer, org: OrgId, id: EnvelopeId, json: boolean, io: Io): Promise<number> {
  const mail = read(HeldMail, await officer.post('/v1/held/show', { org, id }))
  if (json) io.out(JSON.stringify(mail))
  else for (const [name, value] of Object.entries(summary(mail))) io.out(visible(`${name.padEnd(11)} ${value}`))
  return exits.ok
}

/** The answer, if it has the form. */
function read<T extends TSchema>(schema: T, answer: unknown): Static<T> {
  if (new Ajv({ strict: false }).validate<Static<T>>(schema, answer)) return answer
  throw new Failure('The key server answered in a way that this version does not know.')
}

function line({ id, heldAt, until, sender, recipients, recipientCount, size, rule }: HeldMail): string {
  const [first = 'nobody'] = recipients
  const to = recipientCount < 2 ? first : `${first} and ${recipientCount - 1} more`
  return visible(`${id}  held ${heldAt}, until ${until}  ${sender ?? '<>'} to ${to}  ${size} octets  by rule "${rule}"`)
}

function summary(mail: HeldMail): Readonly<Record<string, string>> {
  const { decided } = mail
  return {
    id: mail.id,
    state: stateWords[mail.state],
    from: mail.sender ?? '<>',
    to: mail.recipients.join(', '),
    size: `${mail.size} octets`,
    rule: mail.rule,
    gateway: mail.gateway,
    held: mail.heldAt,
    until: mail.until,
    'opens for': formatDuration(mail.ttlSeconds),
    ...(decided === null ? {} : { decided: `${decided.at} by ${decided.officer ?? 'nobody'}: ${decided.reason}` }),
  }
}

const stateWords = {
  held: 'waits for an officer',
  'let-go': 'let go',
  returned: 'sent back',
  revoked: 'revoked',
} as const

/** What others wrote moves no cursor and turns no line round. */
function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, '?')
}
