import { Problem } from '../protocol/problem.ts'

/** How every route fails: for OpenAPI, and for what leaves. */
export const failures = { '4xx': Problem, '5xx': Problem } as const
