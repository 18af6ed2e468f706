import type { CheckedCondition } from './checked.ts'
import type { Tree } from './document.ts'
import type { Spot } from './fault.ts'
import type { PolicyFile } from './shape.ts'
import { spotAt } from './sound.ts'

/**
 * Rules that can never decide. Outbound: after a rule that always matches, or wherever an earlier rule matches whenever this one
 * does, as far as the text of both shows it; one that only observes hides none. Release: an allow whose condition a deny has too, or a rule that another repeats.
 */
export function unreachable(
  file: PolicyFile,
  outbound: readonly CheckedCondition[],
  release: readonly CheckedCondition[],
  tree: Tree,
): Spot[] {
  return [
    ...never(file, outbound, 'outbound', tree),
    ...later(file, outbound, tree),
    ...never(file, release, 'release', tree),
  ].concat(repeated(file, release, tree))
}

function never(
  file: PolicyFile,
  conditions: readonly CheckedCondition[],
  part: 'outbound' | 'release',
  tree: Tree,
): Spot[] {
  return conditions.flatMap(({ constant }, index) => {
    if (constant !== false) return []
    const message = `the rule '${file[part][index]?.name ?? ''}' can never match`
    return [spotAt(tree, [part, index, 'when'], message, 'remove it, or put # before each of its lines')]
  })
}

function later(file: PolicyFile, conditions: readonly CheckedCondition[], tree: Tree): Spot[] {
  const spots: Spot[] = []
  for (const [index, condition] of conditions.entries()) {
    const earlier = conditions.findIndex((other, before) => {
      return before < index && file.outbound[before]?.observe !== true && covers(other, condition)
    })
    if (earlier < 0) continue
    const [name, first] = [file.outbound[index]?.name ?? '', file.outbound[earlier]?.name ?? '']
    const message = `the rule '${name}' is never reached: '${first}' above matches first`
    spots.push(spotAt(tree, ['outbound', index], message, `move it above '${first}', or remove it`))
  }
  return spots
}

function repeated(file: PolicyFile, conditions: readonly CheckedCondition[], tree: Tree): Spot[] {
  const spots: Spot[] = []
  for (const [index, condition] of conditions.entries()) {
    const rule = file.release[index]
    const other = conditions.findIndex((one, at) => {
      const decides = file.release[at]?.then
      if (at === index || one.constant !== null) return false
      if (decides === rule?.then) return at < index && covers(one, condition) && covers(condition, one)
      return decides === 'deny' && covers(one, condition)
    })
    if (other < 0 || !rule) continue
    const { name = '' } = file.release[other] ?? {}
    const same = file.release[other]?.then === rule.then
    const message = same
      ? `the rule '${rule.name}' repeats '${name}'`
      : `the rule '${rule.name}' never opens anything: '${name}' denies the same`
    spots.push(spotAt(tree, ['release', index], message, 'remove one of the two, or change its condition'))
  }
  return spots
}

/** Whether the texts show that `one` holds whenever `other` does: each way of `other` contains a whole way of `one`. */
function covers(one: CheckedCondition, other: CheckedCondition): boolean {
  if (one.constant === true) return true
  if (other.constant !== null || one.ways.length === 0) return false
  return other.ways.every((way) => one.ways.some((less) => [...less].every((part) => way.has(part))))
}
