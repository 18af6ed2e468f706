import type { IssuedEnvelope, IssueRequest, IssueResult } from '../protocol/gateway-api.ts'
import type { Policy } from '../rulebook/index.ts'
import type { Tracer } from '../telemetry/tracer.ts'
import type { composeBounce } from './bounce.ts'
import type { Composer } from './compose.ts'
import type { Copies } from './copies.ts'
import { type DeliveryParts, keep, record, type Shipment, ship, type Voyage } from './delivery.ts'
import { wants, wishesOf } from './dsn.ts'
import type { Egress } from './egress.ts'
import { type Answer, answerTo, GatewayError } from './error.ts'
import { readFacts } from './facts.ts'
import type { HeaderField } from './header.ts'
import type { Holds } from './holds.ts'
import type { Intake } from './intake.ts'
import type { KeyServer } from './key-server.ts'
import { recogniseHandled } from './loop.ts'
import type { Organization } from './organization.ts'
import { withSubject } from './outgoing-header.ts'
import type { PolicyCache } from './policy-cache.ts'
import { createPreparation, type Preparation } from './preparation.ts'
import type { Accept } from './reception.ts'
import { type Group, type Observed, passedAs, type Refusal, type Route, route } from './routing.ts'
import { safeDomains } from './safe-domains.ts'
import { NOT_SCANNED, type Scan } from './scan.ts'
import { scanned } from './scanning.ts'
import type { Sealing } from './sealing.ts'
import type { Spool } from './spool.ts'
import { subjectOf } from './spool-notice.ts'
import type { SystemMail } from './system-mail.ts'
import { emptyTally, noteState, settle } from './tally.ts'
import { messageDigest, retryKey } from './trace.ts'
import { fatesOf } from './traced.ts'

export type DispatchParts = DeliveryParts & {
  /** Our own name. */
  readonly host: string
  readonly organizations: ReadonlyMap<string, Organization>
  readonly policies: PolicyCache
  readonly keyServer: KeyServer
  readonly systemMail: SystemMail
  readonly sealing: Sealing
  readonly composer: Composer
  readonly egress: Egress
  readonly composeBounce: typeof composeBounce
  readonly copies: Copies
  readonly spool: Pick<Spool, 'put' | 'tell' | 'holds'>
  readonly tracer: Tracer
  readonly holds: Pick<Holds, 'keep' | 'remind'>
  readonly now: () => Date
}

/** What the message is, when it is not one for the rules: then it is passed on as this. */
type Special = { readonly rule: string; readonly fields?: readonly HeaderField[]; readonly preparation?: Preparation }
/** What was found out before any rule was asked. */
type Known = { readonly special: Special | null; readonly scan: Scan }
type Work = { readonly group: Group; readonly envelope: IssuedEnvelope }

/** Who delivers: this attempt, before the client is answered; or the spool, afterwards. */
export type DeliveryMode = 'inline' | 'spool'

/** How often a verdict is taken again because the policy changed meanwhile. */
const ATTEMPTS = 3

/**
 * DESIGN, life of a message, steps 2 to 8. The order is the point: verdict, issue, seal, compose, confirm, deliver, durable outcome, and
 * only then the next delivery; the reply last. Whatever cannot be done ends in 4xx with nothing sent in the clear.
 */
export function createDispatch(parts: DispatchParts): (mode: DeliveryMode) => Accept {
  const preparation = createPreparation(parts)

  return (mode) => async (intake, deadline) => {
    const org = parts.organizations.get(intake.org)
    if (org === undefined) throw new GatewayError('not-proven')
    const started = performance.now()
    const special = await recognise(parts, preparation, org, intake)
    const scan = special === null ? await scanned(parts, org, intake, deadline) : NOT_SCANNED
    const decided = await issue(parts, org, intake, { special, scan }, deadline)
    if (decided.kind === 'refuse') return refuse(parts, intake, decided.refusals)
    const voyage = voyageOf(org, intake, decided.works)
    const how = { mode, preparation: special?.preparation ?? preparation }
    for (const work of decided.works) await deliverEnvelope(parts, how, voyage, work, deadline)
    const answer = await conclude(parts, voyage, deadline)
    parts.log.info('message handled', {
      org: org.id,
      intake: intake.id,
      code: answer.code,
      status: answer.status,
      recipients: intake.recipients.length,
      size: intake.content.size,
      ms: Math.round(performance.now() - started),
      ...(decided.works[0] === undefined ? {} : { envelope: decided.works[0].envelope.id }),
    })
    return answer
  }
}

/** A subject that is hidden from one recipient is given back to nobody. */
function voyageOf(org: Organization, intake: Intake, works: readonly Work[]): Voyage {
  const hidden = works.find(({ group }) => group.subject !== null)?.group.subject ?? null
  return { org, intake, outside: withSubject(intake.content.header.fields, hidden), tally: emptyTally() }
}

/** Mail of our own, if it proves itself; null for any other. */
async function recognise(
  parts: DispatchParts,
  preparation: Preparation,
  org: Organization,
  intake: Intake,
): Promise<Special | null> {
  const fields = await parts.systemMail.recognise(intake)
  if (fields !== null) return { rule: 'system-mail', preparation: preparation.withFields(fields) }
  const handled = await recogniseHandled(intake, org, parts.keyServer)
  return handled === null ? null : { rule: 'handled', preparation: preparation.withHandled(handled) }
}

type Decided =
  | { readonly kind: 'send'; readonly works: readonly Work[] }
  | { readonly kind: 'refuse'; readonly refusals: readonly [Refusal, ...Refusal[]] }

/** The verdicts, recorded by the key server under a policy that is active there. */
async function issue(
  parts: DispatchParts,
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

function tellObserved({ metrics, log }: DispatchParts, intake: Intake, observed: readonly Observed[]): void {
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

/** The rule's own sentence. All recipients are refused with the one, so that the sender decides anew for the whole message. */
function refuse(parts: DispatchParts, intake: Intake, refusals: readonly [Refusal, ...Refusal[]]): Answer {
  const [{ rule, because, recipients, as = 'refused-by-rule' }] = refusals
  const others = recipients.length === intake.recipients.length ? '' : ` (because of ${recipients[0]?.mailbox})`
  parts.metrics.refused(as)
  parts.log.info('message refused by rule', { org: intake.org, incident: intake.id, rule })
  return answerTo(new GatewayError(as, { words: `${because}${others}`.slice(0, 380) }), intake.id)
}

/** Seals and ships what is left to send of one envelope. */
async function deliverEnvelope(
  parts: DispatchParts,
  how: { readonly mode: DeliveryMode; readonly preparation: Preparation },
  voyage: Voyage,
  { group, envelope }: Work,
  deadline: AbortSignal,
): Promise<void> {
  const { org, intake, tally } = voyage
  const states = new Map(envelope.recipients.map(({ address, state }) => [address, state]))
  const left = group.recipients.filter(({ address }) => {
    const state = states.get(address)
    return state !== undefined && noteState(tally, envelope.id, state, parts.spool.holds(envelope.id, address))
  })
  if ([...states.values()].includes('held')) await parts.holds.remind(envelope.id)
  if (left.length === 0) return
  if (deadline.aborted) throw new GatewayError('out-of-time')
  if (group.verdict === 'hold') {
    await parts.holds.keep({ org, intake, group, envelope }, left, voyage.outside)
    tally.held.push(envelope.id)
    return
  }
  const prepared = await how.preparation.prepare({ org, intake, group, envelope })
  try {
    const again = left.some(({ address }) => states.get(address) === 'unknown')
    const { mail, sealed, byLink } = prepared
    const shipment: Shipment = { id: envelope.id, recipients: left, mail, sealed, byLink, again, tls: group.tls }
    if (how.mode === 'spool') await keep(parts, voyage, shipment)
    else await ship(parts, voyage, shipment, deadline)
  } finally {
    await prepared.dispose()
  }
}

/** The bounce, the outcomes that waited for it, and the reply. */
async function conclude(parts: DispatchParts, voyage: Voyage, deadline: AbortSignal): Promise<Answer> {
  const { org, intake, tally } = voyage
  const settlement = settle(tally, intake.id)
  const recordFailed = (outcome: 'failed' | 'deferred') =>
    Promise.all(tally.failed.map(({ id, recipient, result }) => record(parts, org, id, recipient, result, outcome)))
  if (settlement.kind === 'again') {
    await recordFailed('deferred')
    return settlement.answer
  }
  if (settlement.kind === 'done' && settlement.bounce && intake.sender !== null) {
    const told = await bounce(parts, voyage, deadline)
    if (!told) {
      await recordFailed('deferred')
      return answerTo(new GatewayError('provider'), intake.id)
    }
  }
  await recordFailed('failed')
  await tellSent(parts, voyage)
  return settlement.answer
}

/** RFC 3461 5.2.2: who wished to hear of success hears from us where the next hop will not say it. */
async function tellSent(parts: DispatchParts, { org, intake, outside, tally }: Voyage): Promise<void> {
  if (!intake.recipients.some(({ notify }) => wants(notify, 'SUCCESS'))) return
  if (tally.sent.length === 0 || org.courier.capabilities()?.dsn === true) return
  try {
    const results = tally.sent.map(({ result }) => result).filter(({ dsn }) => dsn !== true)
    if (results.length === 0) return
    await parts.spool.tell(subjectOf(intake, outside), org, 'relayed', results)
  } catch (cause) {
    parts.log.warn('a success was not told', { org: org.id, intake: intake.id, cause })
  }
}

/** True once the next hop or the spool has the bounce, or it is refused for good: nobody can be told then, and trying again changes nothing. */
async function bounce(
  parts: DispatchParts,
  { org, intake, outside, tally }: Voyage,
  signal: AbortSignal,
): Promise<boolean> {
  const failed = tally.failed.filter(({ recipient }) => wants(recipient.notify, 'FAILURE')).map(({ result }) => result)
  if (intake.sender === null || failed.length === 0) return true
  const mail = parts.composeBounce({
    org: org.id,
    organization: org.name,
    host: parts.host,
    sender: intake.sender.mailbox,
    failed,
    wishes: wishesOf(intake.wish, intake.recipients),
    fields: outside,
    stamp: null,
    nextHop: org.nextHop,
    arrivedAt: intake.receivedAt,
    now: parts.now(),
  })
  const report = await org.courier.deliver({ ...mail, signal })
  const [result] = report.results
  if (result?.outcome === 'sent') return true
  if (result?.outcome === 'failed') {
    parts.log.warn('bounce refused', { org: org.id, incident: intake.id, code: result.code })
    return true
  }
  try {
    await parts.spool.tell(subjectOf(intake, outside), org, 'failed', failed)
    return true
  } catch (cause) {
    parts.log.warn('a bounce could not be kept', { org: org.id, incident: intake.id, cause })
    return false
  }
}
