import { type Address, domainOf, parseAddress } from '../protocol/identifiers.ts'
import { kindByName, kindByType } from './attachment-kind.ts'
import { formatDuration, parseDuration } from './duration.ts'
import type { Label, OutboundFacts, ReleaseFacts } from './facts.ts'
import { createMessageText } from './message-text.ts'
import { defaultNotice, noticeNames } from './notice.ts'
import { decideOutbound } from './outbound.ts'
import type { Policy } from './policy.ts'
import { decideRelease } from './release.ts'
import type { MailCase, OpenCase, OutboundTest, ReleaseTest } from './shape.ts'

/** How one test of a policy file came out. */
export type CaseResult = {
  readonly part: 'outbound' | 'release'
  /** Place in its list, from 0. */
  readonly index: number
  readonly name: string
  readonly passed: boolean
  /** What the file says must come out, and what came out, in words. */
  readonly expected: string
  readonly actual: string
}

/** Decides every test of a file under its own rules. */
export function runCases(
  policy: Policy,
  tests: { readonly outbound: readonly OutboundTest[]; readonly release: readonly ReleaseTest[] },
): CaseResult[] {
  return [
    ...tests.outbound.map((test, index) => outboundCase(policy, test, index)),
    ...tests.release.map((test, index) => releaseCase(policy, test, index)),
  ]
}

function outboundCase(policy: Policy, test: OutboundTest, index: number): CaseResult {
  const verdict = decideOutbound(policy, mailFacts(policy, test.mail))
  const seal = verdict.kind === 'seal' || verdict.kind === 'hold' ? verdict : null
  const ttl = seal === null ? undefined : formatDuration(seal.terms.ttlSeconds)
  const wanted = test.ttl === undefined ? null : parseDuration(test.ttl)
  const notice = seal === null ? undefined : (seal.notice ?? defaultNotice).name
  const observed = (verdict.observed ?? []).map(({ rule }) => rule)
  const passed =
    verdict.kind === test.expect &&
    (test.by ?? verdict.rule) === verdict.rule &&
    (wanted === null || wanted === seal?.terms.ttlSeconds) &&
    (test.subject ?? seal?.subject) === seal?.subject &&
    (test.tls === undefined || (verdict.kind === 'pass' && verdict.tls !== undefined)) &&
    (test.carry === undefined || test.carry === (seal?.carry ?? 'both')) &&
    (test.notice === undefined || noticeNames(test.notice).join(', ') === notice) &&
    (test.observed === undefined || sameNames(test.observed, observed))
  const came = {
    ...(test.subject === undefined ? {} : { subject: seal?.subject ?? 'the original' }),
    ...(test.carry === undefined ? {} : { carry: seal?.carry ?? 'both' }),
    ...(verdict.kind === 'pass' && verdict.tls !== undefined ? { tls: 'required' as const } : {}),
    ...(test.notice === undefined || notice === undefined ? {} : { notice }),
    ...(test.observed === undefined ? {} : { observed }),
  }
  const actual = worded(verdict.kind, verdict.rule, ttl) + more(came)
  const expected = worded(test.expect, test.by, test.ttl) + more(test)
  return { part: 'outbound', index, name: test.name, passed, expected, actual }
}

function releaseCase(policy: Policy, test: ReleaseTest, index: number): CaseResult {
  const verdict = decideRelease(policy, openFacts(policy, test.open))
  const passed = verdict.kind === test.expect && (test.by ?? verdict.rule) === verdict.rule
  const actual = worded(verdict.kind, verdict.rule, undefined)
  return { part: 'release', index, name: test.name, passed, expected: worded(test.expect, test.by, undefined), actual }
}

function sameNames(some: readonly string[], others: readonly string[]): boolean {
  return JSON.stringify([...new Set(some)].sort()) === JSON.stringify([...others].sort())
}

function more({
  subject,
  carry,
  tls,
  notice,
  observed,
}: Pick<OutboundTest, 'subject' | 'carry' | 'tls' | 'notice' | 'observed'>): string {
  const names = observed?.length === 0 ? 'none' : `'${observed?.join("', '")}'`
  return (
    (subject === undefined ? '' : ` under the subject '${subject}'`) +
    (carry === undefined ? '' : `, carry ${carry}`) +
    (tls === undefined ? '' : ', with TLS required') +
    (notice === undefined ? '' : `, notice ${noticeNames(notice).join(', ')}`) +
    (observed === undefined ? '' : `, observed by ${names}`)
  )
}

function worded(kind: string, by: string | undefined, ttl: string | undefined): string {
  return `${kind}${by === undefined ? '' : ` by '${by}'`}${ttl === undefined ? '' : ` for ${ttl}`}`
}

/** What a test leaves out of a label. */
const LABEL: Label = { id: '', name: '', tenant: '', enabled: true, method: 'standard', encrypts: false }

/** The facts of a test's mail; what it leaves out is as in an ordinary mail. */
export function mailFacts(policy: Pick<Policy, 'domains'>, mail: MailCase): OutboundFacts {
  const sender = comparable(mail.sender)
  const recipient = comparable(mail.to)
  const from = (mail.from ?? (sender === '' ? [] : [sender])).map(comparable)
  const subject = mail.subject ?? ''
  return {
    message: {
      sender,
      senderDomain: domain(sender),
      from,
      foreignFrom: from.length === 0 || !from.every((address) => policy.domains.includes(domain(address))),
      subject,
      tags: tagsOf(subject),
      headers: headersOf(mail),
      size: mail.size ?? 2000,
      // Conditions read only ordinary objects; those of a file are without a prototype.
      attachments: (mail.attachments ?? []).map((one) => {
        const kind = kindByName(one.name) ?? kindByType(one.type) ?? 'other'
        return { kind, size: 1000, locked: false, ...one }
      }),
      labels: (mail.labels ?? []).map((one) => ({ ...LABEL, ...one })),
      text: createMessageText(`${subject}\n${mail.text ?? ''}`),
      textWhole: mail.textWhole ?? true,
      scan: { verdict: 'none', name: '', ...mail.scan },
      nullSender: sender === '',
      report: mail.report ?? false,
      autoReply: mail.autoReply ?? false,
      calendar: mail.calendar ?? '',
      list: mail.list ?? false,
      signed: mail.signed ?? false,
      encrypted: mail.encrypted ?? false,
      malformed: mail.malformed ?? false,
      ttlWish: mail.wish === undefined ? 0 : (parseDuration(mail.wish) ?? 0),
    },
    recipient: {
      address: recipient,
      domain: domain(recipient),
      internal: policy.domains.includes(domain(recipient)),
      tls: mail.recipientTls ?? 'none',
    },
    client: { identity: '', ip: '198.51.100.7', tls: true, ...mail.client },
  }
}

/** The facts of a test's attempt to open; what it leaves out is as in an ordinary one. */
export function openFacts(policy: Pick<Policy, 'domains' | 'ttl'>, open: OpenCase): ReleaseFacts {
  const address = comparable(open.person)
  return {
    person: {
      address,
      domain: domain(address),
      internal: policy.domains.includes(domain(address)),
      role: open.role ?? 'recipient',
    },
    envelope: {
      sender: comparable(open.sender ?? `someone@${policy.domains[0] ?? 'localhost'}`),
      ageSeconds: seconds(open.age, 60),
      secondsLeft: seconds(open.left, policy.ttl.defaultSeconds),
      rule: open.rule ?? 'default',
    },
    request: { ip: open.ip ?? '198.51.100.7', proof: 'code', hour: open.hour ?? 12, weekday: open.weekday ?? 3 },
  }
}

function seconds(text: string | undefined, otherwise: number): number {
  return text === undefined ? otherwise : (parseDuration(text) ?? otherwise)
}

function comparable(text: string): string {
  return parseAddress(text) ?? text
}

function domain(address: string): string {
  return address === '' ? '' : domainOf(address as Address)
}

function tagsOf(subject: string): string[] {
  return [...subject.matchAll(/\[([^[\]]{1,64})\]/g)].map((found) => (found[1] ?? '').trim().toLowerCase())
}

function headersOf(mail: MailCase): Record<string, readonly string[]> {
  const headers: Record<string, readonly string[]> = Object.create(null)
  if (mail.subject !== undefined) headers.subject = [mail.subject]
  for (const [name, value] of Object.entries(mail.headers ?? {})) {
    headers[name.toLowerCase()] = typeof value === 'string' ? [value] : value
  }
  return headers
}
