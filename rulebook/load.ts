import { createHash } from 'node:crypto'
import { parseOrgId } from '../protocol/identifiers.ts'
import { bounds } from './bounds.ts'
import { type CaseResult, runCases } from './cases.ts'
import { type CheckedCondition, conditionAt } from './checked.ts'
import { readDocument, type Tree } from './document.ts'
import { parseDuration } from './duration.ts'
import { type Fault, placed, type Spot } from './fault.ts'
import { type Groups, memberOf } from './groups.ts'
import { defaultNotice, isNoticeLanguage, type NoticeChoice, noticeNames } from './notice.ts'
import { noticeFaults } from './notice-check.ts'
import { readsOfRules, readsRecipient, readsRecipientTls } from './outbound-reads.ts'
import type { OutboundRule, Policy, ReleaseRule } from './policy.ts'
import { unreachable } from './reach.ts'
import { type PolicyFile, shapeOf } from './shape.ts'
import { spotAt, unsound } from './sound.ts'
import { outboundVariables, outboundVariablesOf, releaseVariables } from './variables.ts'

/** A file read as far as it could be. */
export type Examined = {
  /** Null where the file is faulty. */
  readonly policy: Policy | null
  readonly faults: readonly Fault[]
  /** How its tests came out; empty if it had faults before any could run. */
  readonly cases: readonly CaseResult[]
}

/** What can be found out of a mail depends on the way that it goes: on the gateways and not on the file. */
export type Knowable = {
  /** Whether the recipient's host gives verified TLS: with delivery by MX, or by a next hop that promises REQUIRETLS. */
  readonly recipientTls: boolean
}

export type Loaded =
  | { readonly kind: 'policy'; readonly policy: Policy }
  | { readonly kind: 'faulty'; readonly faults: readonly [Fault, ...Fault[]] }

/**
 * The policy in a file's text, ready to decide; or everything that is wrong with it, from top to bottom. Within bounds whatever the
 * text holds, and never throws. `file` is the name that the faults bear. A rule that reads what is not `knowable` is a fault; all is, if it is absent.
 */
export function loadPolicy(text: string, file: string, knowable?: Knowable): Loaded {
  const { policy, faults } = examinePolicy(text, file, knowable)
  if (policy) return { kind: 'policy', policy }
  const [first, ...rest] = faults
  return { kind: 'faulty', faults: [first ?? { file, line: 1, column: 1, message: 'not readable', hint: '' }, ...rest] }
}

/** As {@link loadPolicy}, with the results of the tests: for those who look at a file by hand. */
export function examinePolicy(text: string, file: string, knowable: Knowable = { recipientTls: true }): Examined {
  const { policy, spots, cases } = read(text, knowable)
  if (policy && spots.length === 0) return { policy, faults: [], cases }
  return { policy: null, faults: placed(spots, text, file, bounds.faults), cases }
}

type Reading = {
  readonly policy: Policy | null
  readonly spots: readonly Spot[]
  readonly cases: readonly CaseResult[]
}

function read(text: string, knowable: Knowable): Reading {
  const document = readDocument(text)
  if (document.kind === 'unreadable') return { policy: null, spots: document.spots, cases: [] }
  const shaped = shapeOf(document.tree)
  if (shaped.kind === 'misshapen') return { policy: null, spots: shaped.spots, cases: [] }
  const { tree } = document
  const { file } = shaped
  const spots: Spot[] = [...unsound(file, tree), ...noticeFaults(file, tree, text)]
  const known = outboundVariablesOf(Object.keys(file.groups ?? {}))
  const outbound = file.outbound.map((rule, index) => {
    return conditionAt(rule.when, ['outbound', index, 'when'], tree, text, known, releaseVariables, spots)
  })
  const release = file.release.map((rule, index) => {
    return conditionAt(rule.when, ['release', index, 'when'], tree, text, releaseVariables, outboundVariables, spots)
  })
  if (!knowable.recipientTls) spots.push(...unknowable(outbound, tree))
  if (spots.length === 0) spots.push(...unreachable(file, outbound, release, tree))
  if (spots.length > 0) return { policy: null, spots, cases: [] }
  const policy = policyOf(text, file, outbound, release)
  const cases = runCases(policy, file.tests)
  return { policy, spots: cases.filter(({ passed }) => !passed).map((result) => failure(result, tree)), cases }
}

function unknowable(outbound: readonly CheckedCondition[], tree: Tree): Spot[] {
  return outbound.flatMap(({ condition }, index) => {
    if (condition === null || !readsRecipientTls(condition.tree.expr)) return []
    const message =
      "'recipient.tls' cannot be known: this organization's mail goes by a relay that does not tell how it goes on"
    const hint = `write recipient.domain in ['example.org'] with tls: required, or use delivery by MX and recipientTls: true in keyserver.yaml`
    return [spotAt(tree, ['outbound', index, 'when'], message, hint)]
  })
}

function failure(result: CaseResult, tree: Tree): Spot {
  const path = ['tests', result.part, result.index]
  const message = `the test '${result.name}' fails: expected ${result.expected}, came out ${result.actual}`
  return spotAt(tree, path, message, 'change the rule if the test is right, else the test')
}

function policyOf(
  text: string,
  file: PolicyFile,
  outbound: readonly CheckedCondition[],
  release: readonly CheckedCondition[],
): Policy {
  const notices = noticesIn(file)
  const org = parseOrgId(file.organization)
  // The schema's pattern is the same language.
  if (org === null) throw new Error('an organization id that fits the schema does not parse')
  const rules = file.outbound.map((rule, index) => outboundRule(rule, outbound[index], notices))
  return {
    org,
    hash: createHash('sha256').update(text, 'utf8').digest('hex'),
    domains: file.domains,
    groups: groupsIn(file),
    ttl: { defaultSeconds: seconds(file.ttl.default), capSeconds: seconds(file.ttl.cap) },
    notices,
    outbound: rules,
    reads: readsOfRules(rules),
    readsRecipientTls: rules.some(({ condition }) => readsRecipientTls(condition.tree.expr)),
    sealing: {
      subject: file.sealing?.subject ?? null,
      carry: file.sealing?.carry ?? 'both',
      notice: noticeOf(file.sealing?.notice, notices) ?? defaultNotice,
    },
    default: file.default,
    release: file.release
      .map((rule, index) => releaseRule(rule, release[index]))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  }
}

function groupsIn(file: PolicyFile): Groups {
  return new Map(
    Object.entries(file.groups ?? {}).map(([name, members]) => {
      return [name, new Set(members.map((member) => memberOf(member) ?? member))]
    }),
  )
}

function noticesIn(file: PolicyFile): Policy['notices'] {
  return new Map(
    Object.entries(file.notices ?? {}).map(([name, { language, text, html }]): [string, NoticeChoice] => {
      return [name, { name, languages: [language], own: { text, html } }]
    }),
  )
}

function noticeOf(written: string | readonly string[] | undefined, own: Policy['notices']): NoticeChoice | null {
  if (written === undefined) return null
  const names = noticeNames(written)
  const [first, ...others] = names.filter(isNoticeLanguage)
  if (first !== undefined) {
    const english = first === 'en' && others.length === 0
    return english ? defaultNotice : { name: names.join(', '), languages: [first, ...others], own: null }
  }
  const found = own.get(names[0] ?? '')
  if (found === undefined) throw new Error('a notice that is not there was not found faulty')
  return found
}

function outboundRule(
  rule: PolicyFile['outbound'][number],
  checked: CheckedCondition | undefined,
  notices: Policy['notices'],
): OutboundRule {
  const condition = conditionIn(checked)
  const asksRecipient = readsRecipient(condition.tree.expr)
  const named = { name: rule.name, condition, observe: rule.observe ?? false, asksRecipient }
  if (rule.then === 'pass') return { ...named, verdict: 'pass', tls: rule.tls === undefined ? null : 'next-hop' }
  if (rule.then === 'refuse') return { ...named, verdict: 'refuse', because: rule.because ?? '' }
  const sealing = {
    ttlSeconds: rule.ttl === undefined ? null : seconds(rule.ttl),
    wish: rule.wish ?? true,
    subject: rule.subject ?? null,
    carry: rule.carry ?? null,
    notice: noticeOf(rule.notice, notices),
  }
  if (rule.then === 'seal') return { ...named, verdict: 'seal', ...sealing }
  const holdSeconds = seconds(rule.within ?? WITHIN)
  return { ...named, verdict: 'hold', because: rule.because ?? '', holdSeconds, ...sealing }
}

/** How long an officer has to decide, where the rule does not say. */
const WITHIN = '7d'

function releaseRule(rule: PolicyFile['release'][number], checked: CheckedCondition | undefined): ReleaseRule {
  const named = { name: rule.name, condition: conditionIn(checked) }
  return rule.then === 'allow'
    ? { ...named, verdict: 'allow' }
    : { ...named, verdict: 'deny', because: rule.because ?? '' }
}

function conditionIn(checked: CheckedCondition | undefined) {
  if (checked?.condition) return checked.condition
  throw new Error('a rule without a condition was not found faulty')
}

function seconds(text: string): number {
  const found = parseDuration(text)
  if (found === null) throw new Error('a duration that is not one was not found faulty')
  return found
}
