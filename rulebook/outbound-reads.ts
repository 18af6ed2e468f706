import type { OutboundRule } from './policy.ts'
import { dottedName, type Expression, partsOf, readsOf, textConstant } from './reads.ts'
import { outboundVariables } from './variables.ts'

/** What of a mail the rules of a policy look at beyond its header and the list of its parts: nothing else needs to be found out. */
export type OutboundReads = {
  /** `kind` of attachments. */
  readonly kinds: boolean
  /** `size` or `locked` of attachments: all of them must be decoded. */
  readonly contents: boolean
  /** The text, or numbers in it. */
  readonly text: boolean
  /** The patterns that are looked for in it, as far as they can be told beforehand. */
  readonly patterns: readonly string[]
  /** The names of the rules that decide by what a scanner said. */
  readonly scanRules: readonly string[]
}

const textVariables = ['message.text', 'message.textWhole', 'message.cardNumbers', 'message.ibans']

/** For all rules together, those that only observe among them. */
export function readsOfRules(rules: readonly OutboundRule[]): OutboundReads {
  const trees = rules.map(({ condition }) => condition.tree.expr)
  const attached = trees.filter((tree) => readsOf(tree, outboundVariables).has('message.attachments'))
  const fields = new Set(attached.flatMap(fieldsIn))
  const reads = new Set(trees.flatMap((tree) => [...readsOf(tree, outboundVariables)]))
  return {
    kinds: fields.has('kind'),
    contents: fields.has('size') || fields.has('locked'),
    text: textVariables.some((name) => reads.has(name)),
    patterns: [...new Set(trees.flatMap(patternsIn))],
    scanRules: rules.filter(decidesByScan).map(({ name }) => name),
  }
}

/** Whether a condition asks anything about the recipient. */
export function readsRecipient(tree: Expression): boolean {
  return [...readsOf(tree, outboundVariables)].some((name) => name.startsWith('recipient.'))
}

/** Whether a condition asks how safe the way to the recipient's host is. */
export function readsRecipientTls(tree: Expression): boolean {
  return readsOf(tree, outboundVariables).has('recipient.tls')
}

function decidesByScan({ condition, observe }: OutboundRule): boolean {
  return !observe && readsOf(condition.tree.expr, outboundVariables).has('message.scan.verdict')
}

/** The fields that are picked anywhere in a condition, of whatever. */
function fieldsIn(node: Expression): string[] {
  const own = node.exprKind.case === 'selectExpr' ? [node.exprKind.value.field] : []
  return [...own, ...partsOf(node).flatMap(fieldsIn)]
}

function patternsIn(node: Expression): string[] {
  const { exprKind } = node
  const inner = partsOf(node).flatMap(patternsIn)
  if (exprKind.case !== 'callExpr' || exprKind.value.function !== 'matches' || !exprKind.value.target) return inner
  const pattern = dottedName(exprKind.value.target) === 'message.text' ? textConstant(exprKind.value.args[0]) : null
  return pattern === null ? inner : [...inner, pattern]
}
