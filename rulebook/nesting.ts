import { Lexer } from 'yaml'
import { bounds } from './bounds.ts'

/** Tokens that mark something and stand for no text of the file. */
const MARKS = new Set(['\u0002', '\u0018', '\u001f'])

/**
 * Where a YAML text opens more lists and maps inside one another than are read; null if it does not. By its tokens alone: the parser
 * would recurse, and takes time that grows with the square of the depth.
 */
export function tooDeepAt(text: string): number | null {
  let offset = 0
  let open = 0
  let dashes = 0
  for (const token of new Lexer().lex(text)) {
    if (MARKS.has(token)) continue
    if (token === '[' || token === '{') open++
    else if (token === ']' || token === '}') open--
    else if (open === 0 && (token === '-' || token === '?' || token === ':')) dashes++
    else if (token.startsWith('\n') || token.startsWith('\r')) dashes = 0
    if (open > bounds.yamlDepth || dashes > bounds.yamlDepth) return offset
    offset += token.length
  }
  return null
}
