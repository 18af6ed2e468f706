import type { OutboundRule } from './policy.ts'
import { type Expression, partsOf, readsOf } from './reads.ts'
import { outboundVariables } from './variables.ts'

/** What of a mail the rules of a policy look at beyond its header and the list of its parts: nothing else needs to be found out. */
export type OutboundReads = {
  /** `kind` of attachments. */
  readonly kinds: boolean
  /** `size` or `locked` of attachments: all of them must be decoded. */
  readonly contents: boolean
}

/** For all rules together, those that only observe among them. */
export function readsOfRules(rules: readonly OutboundRule[]): OutboundReads {
  const trees = rules.map(({ condition }) => condition.tree.expr)
  const attached = trees.filter((tree) => readsOf(tree, outboundVariables).has('message.attachments'))
  const fields = new Set(attached.flatMap(fieldsIn))
  return { kinds: fields.has('kind'), contents: fields.has('size') || fields.has('locked') }
}

/** The fields that are picked anywhere in a condition, of whatever. */
function fieldsIn(node: Expression): string[] {
  const own = node.exprKind.case === 'selectExpr' ? [node.exprKind.value.field] : []
  return [...own, ...partsOf(node).flatMap(fieldsIn)]
}
