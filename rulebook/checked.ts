import { checkCondition } from './check.ts'
import { type Condition, conditionOf, type ParsedCondition } from './condition.ts'
import { clipped, type Tree, treeAt } from './document.ts'
import type { Spot } from './fault.ts'
import { placesIn } from './place.ts'
import { joinedBy, readsOf, textOf } from './reads.ts'
import { syntaxOf } from './syntax.ts'
import type { Variables } from './variables.ts'

/** A condition as the search for unreachable rules sees it. */
export type CheckedCondition = {
  /** Null if it is faulty. */
  readonly condition: Condition | null
  /** Its value where it reads nothing, such as `true`; else null. */
  readonly constant: boolean | null
  /** It holds if all texts of any one set hold: what its outermost || and && join, written in one way. */
  readonly ways: readonly ReadonlySet<string>[]
}

/** Reads the condition at a path of the file; what is wrong with it goes to `spots`, with places in the file. */
export function conditionAt(
  when: string | boolean,
  path: readonly (string | number)[],
  tree: Tree,
  file: string,
  variables: Variables,
  elsewhere: Variables,
  spots: Spot[],
): CheckedCondition {
  const faulty: CheckedCondition = { condition: null, constant: null, ways: [] }
  const text = String(when)
  const leaf = treeAt(tree, path.map(String))
  const place = leaf.kind === 'leaf' ? placesIn(leaf.node, file) : () => leaf.offset
  const syntax = syntaxOf(text)
  const found = syntax.kind === 'broken' ? [syntax.spot] : checkCondition(text, syntax.tree, variables, elsewhere)
  spots.push(...found.map((spot) => ({ ...spot, offset: place(spot.offset) })))
  if (syntax.kind === 'broken' || found.length > 0) return faulty
  const condition = conditionOf(text, syntax.tree)
  if (readsOf(syntax.tree.expr, variables).size > 0) return { condition, constant: null, ways: waysOf(syntax.tree) }
  const outcome = condition.evaluate({})
  if (typeof outcome === 'boolean') return { condition, constant: outcome, ways: [] }
  const hint = 'read a variable, or write true'
  spots.push({ offset: place(0), message: `cannot be worked out: ${clipped(outcome.error)}`, hint })
  return faulty
}

function waysOf(tree: ParsedCondition): ReadonlySet<string>[] {
  return joinedBy(tree.expr, '_||_').map((way) => new Set(joinedBy(way, '_&&_').map((part) => textOf(tree, part))))
}
