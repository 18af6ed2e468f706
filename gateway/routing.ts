import type { Terms } from '../protocol/gateway-api.ts'
import { domainOf } from '../protocol/identifiers.ts'
import {
  type Carry,
  decideOutbound,
  type NoticeChoice,
  type Observation,
  type OutboundVerdict,
  type Outcomes,
  type Policy,
  type RecipientTls,
  type TlsDemand,
} from '../rulebook/index.ts'
import type { GatewayErrorCode } from './error.ts'
import type { MessageFacts } from './facts.ts'
import type { Intake, IntakeRecipient } from './intake.ts'

/** Recipients of one message that share a fate: one request to the key server, and one mail. */
export type Group = {
  readonly verdict: 'seal' | 'pass' | 'hold'
  readonly rule: string
  /** With `seal` and `hold`. */
  readonly terms: Terms | null
  /** In the place of the subject; null: the subject stays. */
  readonly subject: string | null
  readonly carry: Carry
  /** With `pass`; null: as it is offered. */
  readonly tls: TlsDemand | null
  /** Null: built in, in English. */
  readonly notice: NoticeChoice | null
  /** With `hold`: the rule's own sentence, for the sender, and how long an officer has to decide. */
  readonly hold: { readonly because: string; readonly seconds: number } | null
  readonly recipients: readonly IntakeRecipient[]
}

export type Refusal = {
  readonly rule: string
  /** The rule's own sentence, for the client. */
  readonly because: string
  /** The reply, where it is not that of a rule of the policy. */
  readonly as?: GatewayErrorCode
  readonly recipients: readonly IntakeRecipient[]
}

/** What a rule that only observes would have decided, and for how many recipients. */
export type Observed = Observation & { readonly recipients: number }

export type Route = { readonly observed: readonly Observed[] } & (
  | { readonly kind: 'send'; readonly groups: readonly Group[] }
  /** A rule refuses at least one recipient; then the whole message is refused, for the sender to decide anew. */
  | { readonly kind: 'refuse'; readonly refusals: readonly [Refusal, ...Refusal[]] }
)

/** A verdict for every recipient, and who shares it. `safe`: the domains whose hosts give verified TLS. Pure. */
export function route(
  policy: Policy,
  message: MessageFacts,
  from: Pick<Intake, 'client' | 'recipients'>,
  safe: ReadonlySet<string> = new Set(),
): Route {
  const { client, recipients } = from
  const byFate = new Map<string, { verdict: OutboundVerdict; recipients: IntakeRecipient[] }>()
  const byRule = new Map<string, Observed>()
  const seen: Outcomes = new Map()
  for (const recipient of recipients) {
    const facts = { message, recipient: recipientFacts(policy, recipient, safe), client }
    const verdict = decideOutbound(policy, facts, seen)
    for (const { rule, would } of verdict.observed ?? []) {
      const key = `${rule} ${would}`
      byRule.set(key, { rule, would, recipients: (byRule.get(key)?.recipients ?? 0) + 1 })
    }
    const fate = fateOf(verdict)
    const known = byFate.get(fate)
    if (known === undefined) byFate.set(fate, { verdict, recipients: [recipient] })
    else known.recipients.push(recipient)
  }
  const groups: Group[] = []
  const refusals: Refusal[] = []
  for (const { verdict, recipients: shared } of byFate.values()) {
    if (verdict.kind === 'refuse') refusals.push(refusalOf(verdict, shared))
    else groups.push(groupOf(verdict, shared))
  }
  const [first, ...rest] = refusals
  const observed = [...byRule.values()]
  return first === undefined
    ? { kind: 'send', groups, observed }
    : { kind: 'refuse', refusals: [first, ...rest], observed }
}

function groupOf(verdict: Exclude<OutboundVerdict, { kind: 'refuse' }>, recipients: readonly IntakeRecipient[]): Group {
  const { kind, rule } = verdict
  if (kind === 'pass') return { ...passedAs(rule, recipients), tls: verdict.tls ?? null }
  const { terms, subject = null, carry = 'both', notice = null } = verdict
  const hold = verdict.kind === 'hold' ? { because: verdict.because, seconds: verdict.holdSeconds } : null
  return { verdict: kind, rule, terms, subject, carry, notice, tls: null, hold, recipients }
}

function refusalOf(
  { rule, because, scan }: Extract<OutboundVerdict, { kind: 'refuse' }>,
  recipients: readonly IntakeRecipient[],
): Refusal {
  const as = scan === undefined ? {} : ({ as: scan === 'infected' ? 'infected' : 'not-scanned' } as const)
  return { rule, because, recipients, ...as }
}

/** Passed on as it is, for that reason. */
export function passedAs(
  rule: string,
  recipients: readonly IntakeRecipient[],
  notice: NoticeChoice | null = null,
): Group {
  return { verdict: 'pass', rule, terms: null, subject: null, carry: 'both', notice, tls: null, hold: null, recipients }
}

function recipientFacts(policy: Policy, recipient: IntakeRecipient, safe: ReadonlySet<string>) {
  const domain = domainOf(recipient.address)
  const tls: RecipientTls = safe.has(domain) ? 'verified' : 'none'
  return { address: recipient.address, domain, internal: policy.domains.includes(domain), tls }
}

/** The rule is part of it: the log says for each envelope which rule sealed it. What it shows outside follows from the rule. */
function fateOf(verdict: OutboundVerdict): string {
  return JSON.stringify([
    verdict.kind,
    verdict.rule,
    verdict.kind === 'seal' || verdict.kind === 'hold' ? verdict.terms : null,
    verdict.kind === 'pass' ? verdict.tls : null,
  ])
}
