import { createHash } from 'node:crypto'
import { parse } from '@bufbuild/cel'

import type { OrgId } from '../protocol/identifiers.ts'
import { type CaseResult, runCases } from './cases.ts'
import { conditionOf } from './condition.ts'
import { readDocument, type Tree, treeAt } from './document.ts'
import { parseDuration } from './duration.ts'
import { type Fault, placed, type Spot } from './fault.ts'
import type { OutboundRule, Policy, ReleaseRule } from './policy.ts'
import { type PolicyFile, shapeOf } from './shape.ts'

export type Loaded =
  | { readonly kind: 'policy'; readonly policy: Policy }
  | { readonly kind: 'faulty'; readonly faults: readonly Fault[] }

export function loadPolicy(text: string, file: string): Loaded {
  const { policy, spots } = read(text)
  if (policy && spots.length === 0) return { kind: 'policy', policy }
  return { kind: 'faulty', faults: placed(spots, text, file) }
}

function read(text: string): { policy: Policy | null; spots: readonly Spot[] } {
  const document = readDocument(text)
  if (document.kind === 'unreadable') return { policy: null, spots: document.spots }
  const shaped = shapeOf(document.tree)
  if (shaped.kind === 'misshapen') return { policy: null, spots: shaped.spots }
  const spots: Spot[] = []
  const policy = build(text, shaped.file, document.tree, spots)
  if (spots.length > 0) return { policy: null, spots }
  for (const result of runCases(policy, shaped.file.tests)) {
    if (!result.passed) spots.push(failure(result, document.tree))
  }
  return { policy, spots }
}

function failure(result: CaseResult, tree: Tree): Spot {
  const { offset } = treeAt(tree, ['tests', result.part, String(result.index)])
  return {
    offset,
    message: `the test '${result.name}' fails: expected ${result.expected}, came out ${result.actual}`,
    hint: 'change the rule or the test',
  }
}

function build(text: string, file: PolicyFile, tree: Tree, spots: Spot[]): Policy {
  const seconds = (value: string) => parseDuration(value) ?? 60
  const condition = (when: string | boolean, path: string[]) => {
    try {
      return conditionOf(String(when), parse(String(when)))
    } catch (error) {
      spots.push({ offset: treeAt(tree, path).offset, message: String(error), hint: 'see policies/README.md' })
      return conditionOf('false', parse('false'))
    }
  }
  const outbound = file.outbound.map((rule, index): OutboundRule => {
    const named = { name: rule.name, condition: condition(rule.when, ['outbound', String(index), 'when']) }
    if (rule.then === 'pass') return { ...named, verdict: 'pass' }
    if (rule.then === 'refuse') return { ...named, verdict: 'refuse', because: rule.because ?? '' }
    return {
      ...named,
      verdict: 'seal',
      ttlSeconds: rule.ttl === undefined ? null : seconds(rule.ttl),
      wish: rule.wish ?? true,
    }
  })
  const release = file.release.map((rule, index): ReleaseRule => {
    const named = { name: rule.name, condition: condition(rule.when, ['release', String(index), 'when']) }
    return rule.then === 'allow'
      ? { ...named, verdict: 'allow' }
      : { ...named, verdict: 'deny', because: rule.because ?? '' }
  })
  return {
    org: file.organization as OrgId,
    hash: createHash('sha256').update(text, 'utf8').digest('hex'),
    domains: file.domains,
    ttl: { defaultSeconds: seconds(file.ttl.default), capSeconds: seconds(file.ttl.cap) },
    outbound,
    default: file.default,
    release: release.sort((a, b) => (a.name < b.name ? -1 : 1)),
  }
}
