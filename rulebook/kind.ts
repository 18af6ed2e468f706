/** The kinds of values that a condition can hold. `any` is what a fault leaves behind, and the entry of an empty list. */
export type Kind =
  | { readonly is: 'bool' | 'int' | 'double' | 'any' }
  /** A text that is only looked into: {@link MessageText}. */
  | { readonly is: 'content' }
  /** `lower`: never holds a capital letter A to Z. `values`: never holds anything else. */
  | { readonly is: 'text'; readonly lower?: true; readonly values?: readonly string[] }
  | { readonly is: 'list'; readonly of: Kind }
  /** By lower-case text keys. */
  | { readonly is: 'map'; readonly of: Kind }
  | { readonly is: 'record'; readonly fields: Readonly<Record<string, Kind>> }

export const BOOL: Kind = { is: 'bool' }
export const INT: Kind = { is: 'int' }
export const DOUBLE: Kind = { is: 'double' }
export const TEXT: Kind = { is: 'text' }
export const LOWER: Kind = { is: 'text', lower: true }
export const CONTENT: Kind = { is: 'content' }
export const ANY: Kind = { is: 'any' }

export function listOf(kind: Kind): Kind {
  return { is: 'list', of: kind }
}

/** The kind in words for people. */
export function wordsFor(kind: Kind): string {
  switch (kind.is) {
    case 'bool':
      return 'true or false'
    case 'int':
      return 'a whole number'
    case 'double':
      return 'a number with a fraction'
    case 'text':
      return 'a text'
    case 'content':
      return 'the text of a mail'
    case 'list':
      return kind.of.is === 'text' ? 'a list of texts' : 'a list'
    case 'map':
      return 'a map'
    case 'record':
      return `a group of ${Object.keys(kind.fields).join(' and ')}`
    case 'any':
      return 'a value'
  }
}

/** Whether values of both kinds can be equal, and what they are together; null if they cannot. */
export function joined(a: Kind, b: Kind): Kind | null {
  if (a.is === 'any') return b
  if (b.is === 'any') return a
  if (isNumber(a) && isNumber(b)) return a.is === b.is ? a : DOUBLE
  if ((a.is === 'list' && b.is === 'list') || (a.is === 'map' && b.is === 'map')) {
    const of = joined(a.of, b.of)
    return of && { is: a.is, of }
  }
  return a.is === b.is && a.is !== 'content' ? a : null
}

export function isNumber(kind: Kind): boolean {
  return kind.is === 'int' || kind.is === 'double'
}
