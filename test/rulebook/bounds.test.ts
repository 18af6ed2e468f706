import fc from 'fast-check'
import t, { type Test } from 'tap'
import { bounds } from '../../rulebook/bounds.ts'
import { type Loaded, loadPolicy } from '../../rulebook/index.ts'
import { policyText } from './policy-file.ts'

/** Loads, and fails if that took more than two seconds of the processor, whatever else the machine does. */
function timed(t: Test, text: string, name: string): Loaded {
  const before = process.cpuUsage()
  const loaded = loadPolicy(text, 'hostile.yaml')
  const { user, system } = process.cpuUsage(before)
  const took = (user + system) / 1000
  t.ok(took < 2000, `${name}: within two seconds, took ${Math.round(took)} ms`)
  return loaded
}

const FULL = bounds.fileCharacters

const laughs = [
  'a: &a ["lol","lol","lol","lol","lol","lol","lol","lol","lol"]',
  ...[...'bcdefghi'].map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[index]}`).join(',')}]`),
].join('\n')

const hostile: Readonly<Record<string, string>> = {
  'a billion laughs': laughs,
  'a million laughs in place of the domains': policyText({}).replace('[acme.example]', '&a [*a, *a]'),
  'nested lists in brackets': '['.repeat(FULL),
  'nested and closed': '['.repeat(FULL / 2) + ']'.repeat(FULL / 2),
  'nested lists in dashes': '- '.repeat(FULL / 2),
  'nested maps in braces': '{a: '.repeat(FULL / 4),
  'nested keys': '? '.repeat(FULL / 2),
  'nested by indentation': Array.from({ length: 500 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
  'a huge key': `${'k'.repeat(FULL - 10)}: 1`,
  'many keys': `{${Array.from({ length: FULL / 10 }, (_, index) => `k${index}: 1`).join(', ')}}`.slice(0, FULL - 1),
  'the same key over and over': 'a: 1\n'.repeat(FULL / 5),
  'many anchors': Array.from({ length: 5000 }, (_, index) => `- &a${index} x`).join('\n'),
  'a NUL': policyText({}).replace('acme', 'ac\u0000me'),
  'only NULs': '\u0000'.repeat(1000),
  'tabs for indentation': policyText({}).replaceAll('{ ', '{\n\t\t'),
  'quotes without end': `version: "${'x'.repeat(FULL - 20)}`,
  'a lone carriage return': policyText({}).replaceAll('\n', '\r'),
  'half a surrogate pair': `version: 1\nname: "\\ud800 \ud800"`,
  'keys of an object prototype': policyText({}).replace('version:', '__proto__: {x: 1}\nconstructor: 1\nversion:'),
  'a directive': '%YAML 9.9\n%TAG ! tag:evil,\n---\nversion: 1',
  'a merge key': `x: {a: 1}\n<<: {version: 1}\n`,
  'too large': 'a'.repeat(FULL + 1),
  'comments only': '#\n'.repeat(FULL / 2),
}

for (const [name, text] of Object.entries(hostile)) {
  t.test(`hostile YAML, ${name}: refused with a place, in bounded time`, async (t) => {
    const loaded = timed(t, text, name)
    if (loaded.kind !== 'faulty') return t.fail('it was loaded')
    t.ok(loaded.faults.length <= bounds.faults, 'bounded in number')
    const lines = text.split('\n').length
    for (const { line, column, message, hint } of loaded.faults) {
      if (!(line >= 1 && line <= lines && column >= 1)) t.fail(`a place outside the file: ${line}:${column}`)
      if (message.length + hint.length > 3000) t.fail('a message as long as the file')
    }
    return t.end()
  })
}

function withCondition(condition: string): string {
  return policyText({ outbound: [`{ name: a, when: ${JSON.stringify(condition)}, then: pass }`] })
}

const conditions: Readonly<Record<string, [condition: string, cause: RegExp]>> = {
  'too long': [`message.report${' '.repeat(2000)}`, /longer than 2000 characters/],
  'too many parts': [Array(300).fill('1==1').join('||').concat('||message.report'), /more than \d+ parts/],
  'too deep in brackets': [`${'['.repeat(900)}1${']'.repeat(900)} == []`, /nested/],
  'too deep in choices': [`${'message.report?true:'.repeat(60)}false`, /nested more than/],
  'too deep in sums': [`${'1+'.repeat(120)}1 == message.size`, /nested more than/],
  'too long a list': [`message.sender in [${"'a',".repeat(250)}'b']`, /more than 200 entries/],
  'loops in loops': [
    'message.from.all(a, message.from.all(b, message.from.all(c, message.from.all(d, a == b))))',
    /more than 2 loops/,
  ],
  'a pattern that explodes': ["message.subject.matches('((a{1000}){1000}){1000}')", /not a regular expression/],
  'too long a pattern': [`message.subject.matches('${'a'.repeat(501)}')`, /longer than 500 characters/],
}

for (const [name, [condition, cause]] of Object.entries(conditions)) {
  t.test(`a condition ${name} is refused`, async (t) => {
    const loaded = timed(t, withCondition(condition), name)
    t.match(loaded, { kind: 'faulty', faults: [{ message: cause }] })
  })
}

t.test('a file at its bounds loads in time', async (t) => {
  const outbound = Array.from(
    { length: 200 },
    (_, index) =>
      `{ name: r${index}, when: "message.size == ${index} && message.from.exists(f, f == 'a${index}')", then: pass }`,
  )
  t.equal(timed(t, policyText({ outbound }), 'two hundred rules').kind, 'policy')
  t.match(loadPolicy(policyText({ outbound: [...outbound, outbound[0] ?? ''] }), 'f'), {
    kind: 'faulty',
    faults: [{ message: /more than 200 entries/ }],
  })
})

t.test('no text makes the loader throw', async () => {
  const letters = fc.constantFrom(
    ...'[]{}:,-?&*!|>\'"%@`# \n\tabc019=()."\\\u0000é😀'.split(''),
    'version: 1\n',
    'when: ',
    '- ',
  )
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 200 }), (parts) => loadPolicy(parts.join(''), 'f').kind === 'faulty'),
    { numRuns: 300 },
  )
})

t.test('no condition makes the loader throw', async () => {
  const words = fc.constantFrom(
    ...[
      'message',
      '.',
      'report',
      'subject',
      '(',
      ')',
      '[',
      ']',
      '==',
      '&&',
      '||',
      '!',
      '-',
      "'a'",
      '1',
      '1.5',
      '?',
      ':',
      ',',
    ],
    ...[
      'in',
      'exists',
      'x',
      'matches',
      'size',
      'true',
      '{',
      '}',
      'has',
      '"',
      '\\',
      '\n',
      ' ',
      'é',
      'null',
      'dyn',
      'b"x"',
      '5u',
    ],
    ...[
      'message.report',
      'message.headers',
      "message.from.exists(x, x == 'a')",
      'message.tags.map(',
      'message.subject',
    ],
  )
  fc.assert(
    fc.property(fc.array(words, { maxLength: 14 }), (parts) => {
      const { kind } = loadPolicy(withCondition(parts.join('') || 'x'), 'f')
      return kind === 'policy' || kind === 'faulty'
    }),
    { numRuns: 2000 },
  )
})
