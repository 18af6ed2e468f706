import { type CelResult, celEnv, isCelError, type parse, plan } from '@bufbuild/cel'
import type { Bindings } from './bindings.ts'
import { functions } from './functions.ts'

/** A condition's result; `error` where it cannot be worked out for these facts. */
export type Outcome = boolean | { readonly error: string }

/** A rule's condition, ready to be tried many times. */
export type Condition = {
  readonly text: string
  readonly evaluate: (bindings: Bindings) => Outcome
}

const environment = celEnv({ funcs: [...functions] })

export type ParsedCondition = ReturnType<typeof parse>

/** The condition of a syntax tree that was found good. */
export function conditionOf(text: string, tree: ParsedCondition): Condition {
  const program = plan(environment, tree) as (bindings: Bindings) => CelResult
  return {
    text,
    evaluate(bindings) {
      const result = program(bindings)
      if (typeof result === 'boolean') return result
      return { error: isCelError(result) ? result.message : 'the condition gives neither true nor false' }
    },
  }
}
