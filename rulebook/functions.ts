import { type CelFunc, type CelMap, CelScalar, celFunc, celMethod, isCelList, listType, mapType } from '@bufbuild/cel'
import { strings } from '@bufbuild/cel/ext'
import { matches } from './pattern.ts'
import { questionOf } from './text-answers.ts'

const { BOOL, STRING } = CelScalar
const TEXTS = listType(STRING)
/** {@link TextAnswers} */
const ANSWERS = mapType(STRING, BOOL)

/** Whether `domain` is `parent` or lies under it; both in any case, a full stop at the end of either ignored. */
export function inDomain(domain: string, parent: string): boolean {
  const inner = bare(domain)
  const outer = bare(parent)
  return outer !== '' && (inner === outer || inner.endsWith(`.${outer}`))
}

function bare(domain: string): string {
  return domain.toLowerCase().replace(/\.$/, '')
}

/** The values of a header field by its name in any case; none if the mail lacks it. */
function valuesOf(headers: CelMap, name: string) {
  const values = headers.get(name.toLowerCase())
  return isCelList(values) ? values : []
}

/** Functions of conditions beyond those of CEL itself. */
export const functions: readonly CelFunc[] = [
  ...strings.filter(({ name }) => name === 'lowerAscii' || name === 'trim'),
  celMethod('matches', STRING, [STRING], BOOL, function (pattern) {
    return matches(this, pattern)
  }),
  celMethod('matches', ANSWERS, [STRING], BOOL, function (pattern) {
    return this.get(questionOf('matches', pattern)) === true
  }),
  celMethod('contains', ANSWERS, [STRING], BOOL, function (text) {
    return this.get(questionOf('contains', text)) === true
  }),
  celFunc('inDomain', [STRING, STRING], BOOL, inDomain),
  celMethod('get', mapType(STRING, TEXTS), [STRING], TEXTS, function (name) {
    return valuesOf(this, name)
  }),
]
