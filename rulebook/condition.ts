import { type CelResult, celEnv, isCelError, type parse, plan } from '@bufbuild/cel'
import type { Bindings } from './bindings.ts'
import { functions } from './functions.ts'

/** A condition's result; `error` where it cannot be worked out for these facts. */
export type Outcome = boolean | { readonly error: string }

/** A rule's condition, ready to be tried many times. */
export type Condition = {
  readonly text: string
  readonly tree: ParsedCondition
  /** Never throws. */
  readonly evaluate: (bindings: Bindings) => Outcome
}

export type ParsedCondition = ReturnType<typeof parse>

const environment = celEnv({ funcs: [...functions] })

/** The condition of a syntax tree that was found good. */
export function conditionOf(text: string, tree: ParsedCondition): Condition {
  // Without declared variables the planned program takes any object and looks names up in it.
  const program = plan(environment, tree) as (bindings: Bindings) => CelResult
  return {
    text,
    tree,
    evaluate(bindings) {
      const result = program(bindings)
      if (typeof result === 'boolean') return result
      return { error: isCelError(result) ? result.message : 'gives neither true nor false' }
    },
  }
}
