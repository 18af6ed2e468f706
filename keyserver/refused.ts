import type { ProblemCode } from '../protocol/problem.ts'

/** One item of a bulk call that was refused, in the form in which it is answered. */
export type Refused = { readonly kind: 'refused'; readonly code: ProblemCode; readonly detail: string }

export function refused(code: ProblemCode, detail: string): Refused {
  return { kind: 'refused', code, detail }
}
