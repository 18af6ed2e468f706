import { bounds } from './bounds.ts'
import { callKind } from './check-call.ts'
import type { ParsedCondition } from './condition.ts'
import type { Spot } from './fault.ts'
import { ANY, BOOL, DOUBLE, INT, isNumber, joined, type Kind, listOf, TEXT, wordsFor } from './kind.ts'
import { nearest } from './nearest.ts'
import { dottedName, type Expression, partsOf } from './reads.ts'
import type { Variables } from './variables.ts'

/** What a check works with, and where it writes what it finds. */
export type Check = {
  readonly text: string
  readonly positions: Readonly<Record<string, number>>
  readonly variables: Variables
  /** The variables of the other kind of rule: only to say so. */
  readonly elsewhere: Variables
  /** The names that loops have bound, innermost last. */
  readonly scope: readonly (readonly [name: string, kind: Kind])[]
  readonly spots: Spot[]
}

/**
 * What is wrong with a condition that could be parsed: unknown variables, fields and functions, kinds that do not go together, values that can
 * never be equal, too many or too deeply nested parts. None: it can be evaluated for all facts, and fails at most by arithmetic,
 * a list index out of range, or a text too long to match. Offsets are into its text.
 */
export function checkCondition(
  text: string,
  tree: ParsedCondition,
  variables: Variables,
  elsewhere: Variables,
): Spot[] {
  const size = sizeOf(tree.expr)
  if (size !== null) return [{ offset: 0, message: size, hint: 'split the rule into several' }]
  const positions = tree.sourceInfo?.positions ?? {}
  const check: Check = { text, positions, variables, elsewhere, scope: [], spots: [] }
  const kind = kindOf(check, tree.expr)
  if (check.spots.length === 0 && kind.is !== 'bool') {
    const message = `the condition gives ${wordsFor(kind)} where true or false is expected`
    report(check, tree.expr, message, 'compare it with something, such as == or contains')
  }
  return check.spots
}

/** Null if the tree is within bounds; else what is too much. A walk without recursion: the tree may be deep. */
function sizeOf(tree: Expression): string | null {
  const left: { readonly node: Expression; readonly depth: number }[] = [{ node: tree, depth: 1 }]
  let nodes = 0
  for (let next = left.pop(); next; next = left.pop()) {
    nodes++
    if (nodes > bounds.nodes) return `the condition has more than ${bounds.nodes} parts`
    if (next.depth > bounds.depth) return `the condition is nested more than ${bounds.depth} deep`
    for (const node of partsOf(next.node)) left.push({ node, depth: next.depth + 1 })
  }
  return null
}

/** The kind of value that a node gives; reports what is wrong in it. */
export function kindOf(check: Check, node: Expression): Kind {
  const name = dottedName(node)
  if (name !== null) return nameKind(check, node, name)
  const { exprKind } = node
  switch (exprKind.case) {
    case 'constExpr':
      return constantKind(check, node)
    case 'selectExpr':
      return selectKind(check, node)
    case 'callExpr':
      return callKind(check, node, exprKind.value)
    case 'listExpr':
      return listKind(check, node, exprKind.value.elements)
    case 'comprehensionExpr':
      return loopKind(check, node)
    default:
      return report(check, node, 'maps in braces are not read here', "write a list: ['a', 'b']")
  }
}

/** Writes a fault at a node, and gives the kind that raises no further ones. */
export function report(check: Check, node: Expression, message: string, hint: string): Kind {
  check.spots.push({ offset: offsetOf(check, node), message, hint })
  return ANY
}

/** Where a node begins: for a dotted name its first letter, for an operator the operator itself. */
function offsetOf(check: Check, node: Expression): number {
  const { exprKind } = node
  const inner =
    exprKind.case === 'selectExpr'
      ? exprKind.value.operand
      : exprKind.case === 'comprehensionExpr'
        ? exprKind.value.iterRange
        : undefined
  return inner ? offsetOf(check, inner) : (check.positions[String(node.id)] ?? 0)
}

function nameKind(check: Check, node: Expression, name: string): Kind {
  const [root = ''] = name.split('.')
  const bound = check.scope.findLast(([known]) => known === root)
  if (bound) return name === root ? bound[1] : selectKind(check, node)
  const known = Object.hasOwn(check.variables, name) ? check.variables[name] : undefined
  if (known) return known
  const owner = Object.keys(check.variables).find((variable) => name.startsWith(`${variable}.`))
  return owner ? selectKind(check, node) : report(check, node, ...unknownName(check, name))
}

function unknownName(check: Check, name: string): [message: string, hint: string] {
  const known = Object.keys(check.variables)
  const group = known.filter((variable) => variable.startsWith(`${name}.`))
  if (group.length > 0) return [`'${name}' is a group of variables`, `write one of them: ${group.join(', ')}`]
  if (Object.hasOwn(check.elsewhere, name)) {
    return [`'${name}' is not known in this kind of rule`, `known here: ${known.join(', ')}`]
  }
  const close = nearest(name, known) ?? nearestEnd(name, known)
  return [`'${name.slice(0, 60)}' is not known`, close ? `write '${close}'` : `known here: ${known.join(', ')}`]
}

/** For `subject` and `mail.subject`: the variable that ends so. */
function nearestEnd(name: string, known: readonly string[]): string | null {
  const ends = new Map(known.map((variable) => [variable.slice(variable.indexOf('.') + 1), variable]))
  const end = nearest(name.slice(name.indexOf('.') + 1), ends.keys())
  return end === null ? null : (ends.get(end) ?? null)
}

function selectKind(check: Check, node: Expression): Kind {
  if (node.exprKind.case !== 'selectExpr' || !node.exprKind.value.operand) return ANY
  const { operand, field, testOnly } = node.exprKind.value
  if (testOnly) {
    const hint = "every variable always has a value; for a header field write 'x-name' in message.headers"
    return report(check, node, 'has(...) is not needed', hint)
  }
  const kind = kindOf(check, operand)
  if (kind.is === 'any') return ANY
  if (kind.is === 'map') return report(check, node, ...headerByName(field))
  if (kind.is !== 'record') {
    return report(
      check,
      node,
      `${wordsFor(kind)} has no field '${field}'`,
      `leave '.${field}' out, or call a function: .${field}(...)`,
    )
  }
  const found = Object.hasOwn(kind.fields, field) ? kind.fields[field] : undefined
  const close = nearest(field, Object.keys(kind.fields)) ?? Object.keys(kind.fields).join("' or '")
  return found ?? report(check, node, `there is no field '${field}' here`, `write '${close}'`)
}

/** Why a header field is not read by index: a mail without it would make the whole rule fail. */
export function headerByName(name: string): [message: string, hint: string] {
  return ['a mail may lack this header field', `write message.headers.get('${name}').exists(v, v == '...')`]
}

function constantKind(check: Check, node: Expression): Kind {
  if (node.exprKind.case !== 'constExpr') return ANY
  switch (node.exprKind.value.constantKind.case) {
    case 'boolValue':
      return BOOL
    case 'int64Value':
      return INT
    case 'doubleValue':
      return DOUBLE
    case 'stringValue':
      return TEXT
    case 'uint64Value':
      return report(check, node, 'a number with u', 'leave the u out')
    case 'nullValue':
      return report(check, node, 'null is equal to nothing here', "an absent text is '', an absent number 0")
    default:
      return report(check, node, 'bytes are not read here', "write a text: 'a'")
  }
}

function listKind(check: Check, node: Expression, elements: readonly Expression[]): Kind {
  if (elements.length > bounds.listEntries) {
    return report(check, node, `a list of more than ${bounds.listEntries} entries`, 'split the rule into several')
  }
  let of: Kind = ANY
  for (const element of elements) {
    const kind = kindOf(check, element)
    const both = joined(of, kind)
    if (!both)
      return report(
        check,
        element,
        `${wordsFor(kind)} in a list that began with ${wordsFor(of)}`,
        'list values of one kind',
      )
    of = both
  }
  return listOf(of)
}

function loopKind(check: Check, node: Expression): Kind {
  if (node.exprKind.case !== 'comprehensionExpr') return ANY
  const { iterRange, iterVar, iterVar2, accuVar, accuInit, loopStep, result } = node.exprKind.value
  if (!iterRange || !accuInit || !loopStep || !result) return ANY
  if (iterVar2 !== '') return report(check, node, 'a loop with two names', 'give it one name')
  if (check.scope.length >= 2 * bounds.loops) {
    return report(check, node, `more than ${bounds.loops} loops inside one another`, 'split the rule into several')
  }
  if (Object.keys(check.variables).some((variable) => variable.startsWith(`${iterVar}.`))) {
    return report(check, node, `the loop's name '${iterVar}' is taken`, `use another, such as ${iterVar.slice(0, 1)}`)
  }
  const range = kindOf(check, iterRange)
  if (range.is !== 'list' && range.is !== 'map' && range.is !== 'any') {
    return report(check, node, `${wordsFor(range)} cannot be gone through`, 'exists, all, filter and map work on lists')
  }
  const of: Kind = range.is === 'list' ? range.of : range.is === 'map' ? { is: 'text', lower: true } : ANY
  const start = kindOf(check, accuInit)
  const step = kindOf(within(check, [iterVar, of], [accuVar, start]), loopStep)
  const end = isNumber(start) ? start : (joined(start, step) ?? ANY)
  return kindOf(within(check, [iterVar, of], [accuVar, end]), result)
}

function within(check: Check, ...names: (readonly [string, Kind])[]): Check {
  return { ...check, scope: [...check.scope, ...names] }
}
