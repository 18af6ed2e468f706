import { unparse } from '@bufbuild/cel'
import type { ParsedCondition } from './condition.ts'

/** A node of a condition's syntax tree. */
export type Expression = ParsedCondition['expr']

/** The whole dotted name that a node spells, such as `message.subject`; null if it is anything else. */
export function dottedName(node: Expression): string | null {
  const { exprKind } = node
  if (exprKind.case === 'identExpr') return exprKind.value.name
  if (exprKind.case !== 'selectExpr' || exprKind.value.testOnly || !exprKind.value.operand) return null
  const before = dottedName(exprKind.value.operand)
  return before === null ? null : `${before}.${exprKind.value.field}`
}

/** The parts right under a node, in the order in which they stand. */
export function partsOf(node: Expression): Expression[] {
  const { exprKind } = node
  switch (exprKind.case) {
    case 'selectExpr':
      return present([exprKind.value.operand])
    case 'callExpr':
      return present([exprKind.value.target, ...exprKind.value.args])
    case 'listExpr':
      return exprKind.value.elements
    case 'structExpr':
      return present(
        exprKind.value.entries.flatMap(({ keyKind, value }) => [
          keyKind.case === 'mapKey' ? keyKind.value : undefined,
          value,
        ]),
      )
    case 'comprehensionExpr': {
      const { iterRange, accuInit, loopCondition, loopStep, result } = exprKind.value
      return present([iterRange, accuInit, loopCondition, loopStep, result])
    }
    default:
      return []
  }
}

function present(nodes: readonly (Expression | undefined)[]): Expression[] {
  return nodes.filter((node) => node !== undefined)
}

/** The known variables that a condition reads, in the order in which they stand. */
export function readsOf(
  node: Expression,
  known: Readonly<Record<string, unknown>>,
  found = new Set<string>(),
): Set<string> {
  const name = dottedName(node)
  if (name !== null && Object.hasOwn(known, name)) found.add(name)
  else for (const part of partsOf(node)) readsOf(part, known, found)
  return found
}

/** The text of a constant, or null. */
export function textConstant(node: Expression | undefined): string | null {
  if (node?.exprKind.case !== 'constExpr') return null
  const { constantKind } = node.exprKind.value
  return constantKind.case === 'stringValue' ? constantKind.value : null
}

/** What the outermost `operator` of a node joins; the node itself if it is no such operator. */
export function joinedBy(node: Expression, operator: '_||_' | '_&&_'): Expression[] {
  const { exprKind } = node
  if (exprKind.case !== 'callExpr' || exprKind.value.function !== operator) return [node]
  return exprKind.value.args.flatMap((part) => joinedBy(part, operator))
}

/** A part of a condition as text, written in one way whatever the blanks and quotes in the file. */
export function textOf(tree: ParsedCondition, part: Expression): string {
  return unparse({ ...tree, expr: part })
}
