import { type Tree, treeAt } from './document.ts'
import { formatDuration, LONGEST, parseDuration } from './duration.ts'
import type { Spot } from './fault.ts'
import { memberOf } from './groups.ts'
import { SCANNER_RULE } from './heed-scan.ts'
import { nearest } from './nearest.ts'
import { DEFAULT_RULE, ruleInError } from './policy.ts'
import type { PolicyFile } from './shape.ts'

type Path = readonly (string | number)[]

/** What fits the schema and yet makes no sense: names twice, times beyond the cap, fields that do nothing, tests of unknown rules. */
export function unsound(file: PolicyFile, tree: Tree): Spot[] {
  return [...times(file, tree), ...names(file, tree), ...idle(file, tree), ...testNames(file, tree)]
}

/** A spot at a path of the file. */
export function spotAt(tree: Tree, path: Path, message: string, hint: string): Spot {
  return { offset: treeAt(tree, path.map(String)).offset, message, hint }
}

function* times(file: PolicyFile, tree: Tree): Generator<Spot> {
  const cap = parseDuration(file.ttl.cap) ?? LONGEST
  const written: [Path, string][] = [
    [['ttl', 'cap'], file.ttl.cap],
    [['ttl', 'default'], file.ttl.default],
  ]
  for (const [index, rule] of file.outbound.entries()) {
    if (rule.ttl !== undefined) written.push([['outbound', index, 'ttl'], rule.ttl])
  }
  for (const [path, text] of written) {
    const seconds = parseDuration(text)
    if (seconds === null || seconds < 60) yield spotAt(tree, path, `'${text}' is no time to live`, 'from 1m to 3660d')
    else if (seconds > cap) {
      yield spotAt(
        tree,
        path,
        `'${text}' is more than the cap`,
        `write at most ${formatDuration(cap)}, or raise ttl.cap`,
      )
    }
  }
  yield* decisionTimes(file, tree)
  yield* testTimes(file, tree)
}

/** From an hour to a month: shorter, nobody would see it in time; and nobody waits longer for a mail. */
function* decisionTimes(file: PolicyFile, tree: Tree): Generator<Spot> {
  for (const [index, { within }] of file.outbound.entries()) {
    const found = within === undefined ? null : parseDuration(within)
    if (within === undefined || (found !== null && found >= 3600 && found <= 31 * 86_400)) continue
    const path = ['outbound', index, 'within']
    yield spotAt(tree, path, `'${within}' is no time for an officer to decide`, 'from 1h to 31d')
  }
}

function* testTimes(file: PolicyFile, tree: Tree): Generator<Spot> {
  const written: [Path, string | undefined][] = []
  for (const [index, { mail, ttl }] of file.tests.outbound.entries()) {
    written.push([['tests', 'outbound', index, 'ttl'], ttl], [['tests', 'outbound', index, 'mail', 'wish'], mail.wish])
  }
  for (const [index, { open }] of file.tests.release.entries()) {
    written.push([['tests', 'release', index, 'open', 'age'], open.age])
    written.push([['tests', 'release', index, 'open', 'left'], open.left])
  }
  for (const [path, text] of written) {
    if (text !== undefined && parseDuration(text) === null) {
      yield spotAt(tree, path, `'${text}' is no time`, 'from 1s to 3660d')
    }
  }
}

function* names(file: PolicyFile, tree: Tree): Generator<Spot> {
  for (const part of ['outbound', 'release'] as const) {
    const seen = new Set<string>()
    for (const [index, { name }] of file[part].entries()) {
      if (seen.has(name)) {
        yield spotAt(
          tree,
          [part, index, 'name'],
          `a rule '${name}' stands above already`,
          'give each rule a name of its own',
        )
      }
      seen.add(name)
    }
  }
  const domains = new Set<string>()
  for (const [index, domain] of file.domains.entries()) {
    if (domains.has(domain)) yield spotAt(tree, ['domains', index], `'${domain}' is listed twice`, 'remove one')
    domains.add(domain)
  }
  for (const [group, members] of Object.entries(file.groups ?? {})) {
    for (const [index, member] of members.entries()) {
      if (memberOf(member) !== null) continue
      const message = `'${member.slice(0, 60)}' is neither an address nor a domain`
      yield spotAt(tree, ['groups', group, index], message, 'write anna@acme.example, or example.org for all of it')
    }
  }
}

/** Fields that a rule's verdict does not use: an officer would believe that they do something. */
function* idle(file: PolicyFile, tree: Tree): Generator<Spot> {
  for (const [index, rule] of file.outbound.entries()) {
    for (const field of ['ttl', 'wish', 'subject', 'carry', 'notice'] as const) {
      if (rule[field] !== undefined && !isSealing(rule.then)) {
        yield spotAt(tree, ['outbound', index, field], `'${field}' does nothing with '${rule.then}'`, 'remove it')
      }
    }
    if (rule.tls !== undefined && rule.then !== 'pass') {
      yield spotAt(tree, ['outbound', index, 'tls'], `'tls' does nothing with '${rule.then}'`, 'remove it')
    }
    if (rule.within !== undefined && rule.then !== 'hold') {
      yield spotAt(tree, ['outbound', index, 'within'], `'within' does nothing with '${rule.then}'`, 'remove it')
    }
    if (rule.because !== undefined && rule.then !== 'refuse' && rule.then !== 'hold') {
      yield spotAt(
        tree,
        ['outbound', index, 'because'],
        `'because' does nothing with '${rule.then}'`,
        'write it as a # comment',
      )
    }
  }
  for (const [index, rule] of file.release.entries()) {
    if (rule.because !== undefined && rule.then === 'allow') {
      yield spotAt(
        tree,
        ['release', index, 'because'],
        "'because' does nothing with 'allow'",
        'write it as a # comment',
      )
    }
  }
}

function* testNames(file: PolicyFile, tree: Tree): Generator<Spot> {
  for (const part of ['outbound', 'release'] as const) {
    const observing = new Set(part === 'outbound' ? file.outbound.filter(isObserving).map(({ name }) => name) : [])
    const rules = file[part].map(({ name }) => name).filter((name) => !observing.has(name))
    const known = new Set([DEFAULT_RULE, SCANNER_RULE, ...rules, ...rules.map(ruleInError)])
    for (const [index, { by }] of file.tests[part].entries()) {
      if (by === undefined || known.has(by)) continue
      if (observing.has(by)) {
        const hint = `write observed: [${by}], and 'by' for the rule that decides`
        yield spotAt(tree, ['tests', part, index, 'by'], `the rule '${by}' only observes`, hint)
        continue
      }
      const close = nearest(by, known)
      const hint = close ? `write '${close}'` : `known: ${[DEFAULT_RULE, ...rules].join(', ')}`
      yield spotAt(tree, ['tests', part, index, 'by'], `no ${part} rule is called '${by}'`, hint)
    }
  }
  yield* observedNames(file, tree)
  for (const [index, test] of file.tests.outbound.entries()) {
    for (const field of ['ttl', 'subject', 'carry', 'notice'] as const) {
      if (test[field] === undefined || isSealing(test.expect)) continue
      const path = ['tests', 'outbound', index, field]
      yield spotAt(tree, path, `'${field}' can only be expected of 'seal' and 'hold'`, 'remove it')
    }
    if (test.tls !== undefined && test.expect !== 'pass') {
      yield spotAt(tree, ['tests', 'outbound', index, 'tls'], "'tls' can only be expected of 'pass'", 'remove it')
    }
  }
}

function* observedNames(file: PolicyFile, tree: Tree): Generator<Spot> {
  const observing = file.outbound.filter(isObserving).map(({ name }) => name)
  const known = new Set([...observing, ...observing.map(ruleInError)])
  for (const [index, { observed = [] }] of file.tests.outbound.entries()) {
    for (const [place, name] of observed.entries()) {
      if (known.has(name)) continue
      const rules = observing.length === 0 ? 'no rule has observe: true' : `known: ${observing.join(', ')}`
      const path = ['tests', 'outbound', index, 'observed', place]
      yield spotAt(tree, path, `no rule called '${name}' observes`, rules)
    }
  }
}

function isSealing(verdict: PolicyFile['outbound'][number]['then']): boolean {
  return verdict === 'seal' || verdict === 'hold'
}

function isObserving({ observe }: PolicyFile['outbound'][number]): boolean {
  return observe === true
}
