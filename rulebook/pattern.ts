import { celEnv, isCelError, parse, plan } from '@bufbuild/cel'
import { bounds } from './bounds.ts'

/** RE2 syntax, linear in the length of the text. */
const tryPattern = plan(celEnv(), parse('text.matches(pattern)'))

/** Whether `pattern` is found in `text`. Throws if the text is longer than `most` characters or the pattern is none: an evaluation error of the condition. */
export function matches(text: string, pattern: string, most: number = bounds.matchedCharacters): boolean {
  if (text.length > most) throw new Error('the text is too long for a regular expression')
  const found = tryPattern({ text, pattern })
  if (typeof found === 'boolean') return found
  throw new Error(isCelError(found) ? found.message : 'not a regular expression')
}

/** What is wrong with the pattern of a condition; null if it can be used. Patterns are written out, so that this can be said at load. */
export function patternFault(pattern: string | null): { readonly message: string; readonly hint: string } | null {
  if (pattern === null) return { message: 'the pattern is worked out', hint: "write it out: matches('[0-9]{6}')" }
  if (pattern.length > bounds.patternCharacters) {
    return { message: `the pattern is longer than ${bounds.patternCharacters} characters`, hint: 'shorten it' }
  }
  try {
    matches('', pattern)
    return null
  } catch (error) {
    const cause = error instanceof Error ? error.message : 'not a regular expression'
    const hint = "RE2 syntax; in a condition write \\\\b for \\b, or use r'...'. See policies/README.md"
    return { message: `not a regular expression: ${cause.replace(/^error parsing regexp: /, '')}`, hint }
  }
}
