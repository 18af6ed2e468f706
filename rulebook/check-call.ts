import { type Check, headerByName, kindOf, report } from './check.ts'
import { ANY, BOOL, INT, isNumber, joined, type Kind, wordsFor } from './kind.ts'
import { nearest } from './nearest.ts'
import { patternFault } from './pattern.ts'
import { type Expression, textConstant } from './reads.ts'
import { loops, methods, plainFunctions, type Signature } from './signature.ts'

type Call = {
  readonly function: string
  readonly target?: Expression | undefined
  readonly args: readonly Expression[]
}

/** The kind that a call or an operator gives; reports what is wrong in it. */
export function callKind(check: Check, node: Expression, call: Call): Kind {
  const [left, right, third] = call.args
  if (call.target) return methodKind(check, node, call, call.target)
  switch (call.function) {
    case '_&&_':
    case '_||_':
    case '!_':
    case '@not_strictly_false':
      for (const part of call.args) expectBool(check, part)
      return BOOL
    case '_?_:_':
      return left && right && third ? choiceKind(check, node, left, right, third) : ANY
    case '_==_':
    case '_!=_':
      return left && right ? equalityKind(check, node, left, right) : ANY
    case '@in':
      return left && right ? membershipKind(check, node, left, right) : ANY
    case '_[_]':
      return left && right ? indexKind(check, node, left, right) : ANY
    case '-_':
      return left ? expectNumber(check, left) : ANY
    default:
      if (left && right && orders.has(call.function)) return orderKind(check, node, left, right)
      if (left && right && arithmetic.has(call.function)) return sumKind(check, node, call.function, left, right)
      return functionKind(check, node, call)
  }
}

const orders = new Set(['_<_', '_<=_', '_>_', '_>=_'])
const arithmetic = new Set(['_+_', '_-_', '_*_', '_/_', '_%_'])

function expectBool(check: Check, node: Expression): void {
  const kind = kindOf(check, node)
  if (kind.is === 'bool' || kind.is === 'any') return
  report(
    check,
    node,
    `${wordsFor(kind)} where true or false is expected`,
    'compare it with something, such as == or contains',
  )
}

function expectNumber(check: Check, node: Expression): Kind {
  const kind = kindOf(check, node)
  return isNumber(kind) || kind.is === 'any'
    ? kind
    : report(check, node, `${wordsFor(kind)} where a number is expected`, 'write a number')
}

function choiceKind(check: Check, node: Expression, when: Expression, yes: Expression, no: Expression): Kind {
  expectBool(check, when)
  const [one, other] = [kindOf(check, yes), kindOf(check, no)]
  return (
    joined(one, other) ??
    report(check, node, `gives ${wordsFor(one)} or ${wordsFor(other)}`, 'give values of one kind on both sides')
  )
}

function equalityKind(check: Check, node: Expression, left: Expression, right: Expression): Kind {
  const [one, other] = [kindOf(check, left), kindOf(check, right)]
  if (!joined(one, other)) {
    const hint = mixHint(one, other)
    return report(check, node, `compares ${wordsFor(one)} with ${wordsFor(other)}: they are never equal`, hint)
  }
  neverHolds(check, one, right)
  neverHolds(check, other, left)
  return BOOL
}

function mixHint(one: Kind, other: Kind): string {
  if (one.is === 'list' || other.is === 'list')
    return "to look in a list write 'value' in list, or list.exists(v, v == 'value')"
  if (one.is === 'bool' || other.is === 'bool') return 'true and false stand without quotes'
  if (isNumber(one) || isNumber(other)) return 'numbers stand without quotes'
  return 'compare values of one kind'
}

/** Reports a written text that values of `kind` never hold: the wrong case, or none of a few known values. */
function neverHolds(check: Check, kind: Kind, written: Expression): void {
  if (kind.is !== 'text') return
  const text = textConstant(written)
  if (text === null) return
  if (kind.values && !kind.values.includes(text)) {
    const hint =
      kind.values.length === 0
        ? `add groups: with '${text.slice(0, 60)}' to the file`
        : `write '${nearest(text, kind.values) ?? kind.values.join("' or '")}'`
    report(check, written, `'${text.slice(0, 60)}' is never the value here`, hint)
  } else if (kind.lower && /[A-Z]/.test(text)) {
    report(check, written, 'this value is always in lower case', `write '${text.slice(0, 60).toLowerCase()}'`)
  }
}

function membershipKind(check: Check, node: Expression, left: Expression, right: Expression): Kind {
  const [one, list] = [kindOf(check, left), kindOf(check, right)]
  if (list.is === 'text')
    return report(check, node, "'in' looks in lists, not in a text", "write text.contains('value')")
  if (list.is !== 'list' && list.is !== 'map' && list.is !== 'any') {
    return report(check, node, `'in' looks in lists, not in ${wordsFor(list)}`, "write 'value' in ['a', 'b']")
  }
  const of: Kind = list.is === 'list' ? list.of : list.is === 'map' ? { is: 'text', lower: true } : ANY
  if (!joined(one, of))
    return report(check, node, `looks for ${wordsFor(one)} in a list of other things`, mixHint(one, of))
  neverHolds(check, of, left)
  if (right.exprKind.case === 'listExpr')
    for (const entry of right.exprKind.value.elements) neverHolds(check, one, entry)
  return BOOL
}

function indexKind(check: Check, node: Expression, left: Expression, right: Expression): Kind {
  const [list, index] = [kindOf(check, left), kindOf(check, right)]
  if (list.is === 'any' || index.is === 'any') return ANY
  if (list.is === 'map') return report(check, node, ...headerByName(textConstant(right) ?? 'X-Name'))
  if (list.is !== 'list')
    return report(check, node, `${wordsFor(list)} has no entries`, 'brackets pick an entry of a list')
  return index.is === 'int'
    ? list.of
    : report(check, right, `${wordsFor(index)} as the place in a list`, 'write a whole number from 0')
}

function orderKind(check: Check, node: Expression, left: Expression, right: Expression): Kind {
  const [one, other] = [kindOf(check, left), kindOf(check, right)]
  if (one.is === 'any' || other.is === 'any') return BOOL
  if ((isNumber(one) && isNumber(other)) || (one.is === 'text' && other.is === 'text')) return BOOL
  return report(check, node, `orders ${wordsFor(one)} and ${wordsFor(other)}`, mixHint(one, other))
}

function sumKind(check: Check, node: Expression, operator: string, left: Expression, right: Expression): Kind {
  const [one, other] = [kindOf(check, left), kindOf(check, right)]
  if (one.is === 'any' || other.is === 'any') return operator === '_+_' ? (joined(one, other) ?? ANY) : ANY
  const numbers = isNumber(one) && one.is === other.is && (operator !== '_%_' || one.is === 'int')
  const chains = operator === '_+_' && (one.is === 'text' || one.is === 'list')
  const kind = numbers || chains ? joined(one, other) : null
  const sign = operator.replaceAll('_', '')
  return (
    kind ?? report(check, node, `'${sign}' between ${wordsFor(one)} and ${wordsFor(other)}`, 'use values of one kind')
  )
}

function methodKind(check: Check, node: Expression, call: Call, target: Expression): Kind {
  const signature = Object.hasOwn(methods, call.function) ? methods[call.function] : undefined
  const on = kindOf(check, target)
  if (!signature) return unknownFunction(check, node, call.function)
  if (on.is !== 'any' && !signature.on.includes(on.is)) {
    return report(check, node, `${wordsFor(on)} has no ${call.function}()`, missingHint(on, call.function, signature))
  }
  const [first] = call.args
  if (first && call.function === 'matches') {
    const fault = patternFault(textConstant(first))
    if (fault) return report(check, first, fault.message, fault.hint)
  } else if (first && on.is === 'text' && on.lower) neverHolds(check, on, first)
  return withArguments(check, node, call, signature)
}

function missingHint(on: Kind, name: string, signature: Signature): string {
  if (on.is === 'content') return "only contains('word') and matches('(?i)word') look into it; (?i) minds no capitals"
  return on.is === 'list' && name === 'contains' ? "write 'value' in list" : `as in ${signature.example}`
}

function functionKind(check: Check, node: Expression, call: Call): Kind {
  const [only] = call.args
  if (call.function === 'size' && only && call.args.length === 1) {
    const kind = kindOf(check, only)
    if (['text', 'list', 'map', 'any'].includes(kind.is)) return INT
    return report(check, node, `${wordsFor(kind)} has no size`, 'size works on texts and lists')
  }
  const signature = Object.hasOwn(plainFunctions, call.function) ? plainFunctions[call.function] : undefined
  return signature ? withArguments(check, node, call, signature) : unknownFunction(check, node, call.function)
}

function unknownFunction(check: Check, node: Expression, name: string): Kind {
  const method = Object.hasOwn(methods, name) ? methods[name] : undefined
  if (method) return report(check, node, `${name} is called on a value`, `as in ${method.example}`)
  const plain = Object.hasOwn(plainFunctions, name) ? plainFunctions[name] : undefined
  if (plain) return report(check, node, `${name} is not called on a value`, `as in ${plain.example}`)
  if (loops.some((loop) => loop === name)) {
    return report(check, node, `${name} needs a name and a condition`, `as in message.tags.${name}(t, t == 'secure')`)
  }
  const known = [...Object.keys(methods), ...Object.keys(plainFunctions), ...loops]
  const close = nearest(name, known)
  return report(
    check,
    node,
    `there is no function '${name.slice(0, 60)}'`,
    close ? `write '${close}'` : `known: ${known.join(', ')}`,
  )
}

function withArguments(check: Check, node: Expression, call: Call, signature: Signature): Kind {
  if (call.args.length !== signature.takes.length) {
    const wanted = signature.takes.length
    return report(
      check,
      node,
      `${call.function} takes ${wanted} value${wanted === 1 ? '' : 's'} in its brackets`,
      `as in ${signature.example}`,
    )
  }
  for (const [index, argument] of call.args.entries()) {
    const wanted = signature.takes[index] ?? ANY
    const kind = kindOf(check, argument)
    if (!joined(kind, wanted)) {
      return report(
        check,
        argument,
        `${call.function} gets ${wordsFor(kind)} where ${wordsFor(wanted)} is expected`,
        `as in ${signature.example}`,
      )
    }
  }
  return signature.gives
}
