import { RE2JS } from '@bufbuild/re2'
import { bounds } from './bounds.ts'

/** Whether `pattern`, RE2 syntax, is found in `text`, in time linear in its length. Throws if the text is longer than `most` characters or the pattern is none: an evaluation error of the condition. */
export function matches(text: string, pattern: string, most: number = bounds.matchedCharacters): boolean {
  if (text.length > most) throw new Error('the text is too long for a regular expression')
  return compile(pattern, text.length).test(text)
}

/** Compiling costs a hundred times what looking through a subject does. What is compiled grows by what it meets, so it is compiled anew after so many characters. */
const LASTS = 2000
/** Far more than policies have. */
const PATTERNS = 200
const compiled = new Map<string, { readonly expression: RE2JS; left: number }>()

/** Throws if the pattern is none. */
function compile(pattern: string, length: number): RE2JS {
  if (length > LASTS) return RE2JS.compile(pattern)
  const known = compiled.get(pattern)
  if (known !== undefined && known.left >= length) {
    known.left -= length
    return known.expression
  }
  const expression = RE2JS.compile(pattern)
  if (known === undefined && compiled.size === PATTERNS) compiled.clear()
  compiled.set(pattern, { expression, left: LASTS - length })
  return expression
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
