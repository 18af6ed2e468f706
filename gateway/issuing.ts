import type { IssuedEnvelope, IssueRequest, IssueResult } from '../protocol/gateway-api.ts'
import type { Policy } from '../rulebook/index.ts'
import type { Tracer } from '../telemetry/tracer.ts'
import { GatewayError } from './error.ts'
import { readFacts } from './facts.ts'
import type { Intake } from './intake.ts'
import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Organization } from './organization.ts'
import type { PolicyCache } from './policy-cache.ts'
import type { Preparation } from './preparation.ts'
import { type Group, type Observed, passedAs, type Refusal, type Route, route } from './routing.ts'
import { safeDomains } from './safe-domains.ts'
import type { Scan } from './scan.ts'
import { messageDigest, retryKey } from './trace.ts'
import { fatesOf } from './traced.ts'

export type IssuingParts = {
  readonly policies: PolicyCache
  readonly keyServer: Pick<KeyServer, 'issue'>
  readonly tracer: Tracer
  readonly metrics: Pick<Metrics, 'observed'>
  readonly log: Log
}

/** What the message is, when it is not one for the rules: then it is passed on as this. */
export type Special = { readonly rule: string; readonly preparation: Preparation }
/** What was found out before any rule was asked. */
export type Known = { readonly special: Special | null; readonly scan: Scan }
/** One envelope to deliver. */
export type Work = { readonly group: Group; readonly envelope: IssuedEnvelope }

/** How often a verdict is taken again because the policy changed meanwhile. */
const ATTEMPTS = 3

/** `send`: also what is held. A refusal is recorded before it is told. */
export type Decided =
  | { readonly kind: 'send'; readonly works: readonly Work[] }
  | { readonly kind: 'refuse'; readonly refusals: readonly [Refusal, ...Refusal[]] }

/** The verdicts, recorded by the key server under a policy that is active there. Throws a {@link GatewayError} where that cannot be. */
export async function issue(
  parts: IssuingParts,
  org: Organization,
  intake: Intake,
  { special, scan }: Known,
  deadline: AbortSignal,
): Promise<Decided> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const policy = parts.policies.get(org.id) ?? (await parts.policies.refresh(org.id))
    if (policy === null) throw new GatewayError('policy')
    const routed = await parts.tracer.within('decide', { org: org.id }, async (span) => {
      const decided = await decide(org, policy, intake, { special, scan }, deadline)
      if (parts.tracer.on) span.note(fatesOf(decided))
      return decided
    })
    const fates = routed.kind === 'send' ? routed.groups : routed.refusals.map(refusedGroup)
    const results = await Promise.all(
      fates.map((fate) => parts.keyServer.issue(requestOf(org, intake, policy.hash, fate))),
    )
    if (results.some((result) => result.kind === 'refused' && result.code === 'policy-not-active')) {
      await parts.policies.refresh(org.id)
      continue
    }
    const envelopes = results.map(envelopesOf)
    tellObserved(parts, intake, routed.observed)
    if (routed.kind === 'refuse') return routed
    const works = routed.groups.flatMap((group, index) =>
      (envelopes[index] ?? []).map((envelope): Work => ({ group, envelope })),
    )
    return { kind: 'send', works }
  }
  throw new GatewayError('policy', { message: 'the policy changed again and again while the message was decided' })
}

/** What is not one for the rules goes to all as it is. */
async function decide(
  org: Organization,
  policy: Policy,
  intake: Intake,
  { special, scan }: Known,
  deadline: AbortSignal,
): Promise<Route> {
  const facts = await readFacts(intake.content, intake.sender, policy, { scan, deadline })
  if (special === null) {
    const safe = policy.readsRecipientTls ? await safeDomains(org.courier, intake.recipients, deadline) : undefined
    return route(policy, facts, intake, safe)
  }
  return { kind: 'send', groups: [passedAs(special.rule, intake.recipients, policy.sealing.notice)], observed: [] }
}

function tellObserved({ metrics, log }: IssuingParts, intake: Intake, observed: readonly Observed[]): void {
  for (const { rule, would, recipients } of observed) {
    metrics.observed(intake.org, rule, recipients)
    log.info('a rule only observed', { org: intake.org, intake: intake.id, rule, would, recipients })
  }
}

type Fate = Pick<Group, 'rule' | 'terms' | 'hold' | 'recipients'> & { readonly verdict: IssueRequest['verdict'] }

function refusedGroup(refusal: Refusal): Fate {
  return { verdict: 'refuse', rule: refusal.rule, terms: null, hold: null, recipients: refusal.recipients }
}

function requestOf(org: Organization, intake: Intake, policyHash: string, fate: Fate): IssueRequest {
  return {
    org: org.id,
    policyHash,
    verdict: fate.verdict,
    rule: fate.rule,
    sender: intake.sender?.address ?? null,
    ...(fate.terms === null ? {} : { terms: fate.terms }),
    ...(fate.hold === null ? {} : { holdSeconds: fate.hold.seconds }),
    messageDigest: messageDigest(intake, org.traceKey),
    recipients: fate.recipients.map(({ address }) => ({ address, retryKey: retryKey(intake, address, org.traceKey) })),
  }
}

function envelopesOf(result: IssueResult): readonly IssuedEnvelope[] {
  if (result.kind === 'issued') return result.envelopes
  throw new GatewayError('key-server', { message: `issue: ${result.code}` })
}
