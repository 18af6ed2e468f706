import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { outboundBindings, releaseBindings } from '../../rulebook/bindings.ts'
import { decideOutbound, decideRelease, loadPolicy } from '../../rulebook/index.ts'
import { outboundVariables, releaseVariables } from '../../rulebook/variables.ts'
import { mail, open, policyOf, policyText } from './policy-file.ts'

const policies = join(import.meta.dirname, '../../policies')
const guide = readFileSync(join(policies, 'README.md'), 'utf8')

/** The rows of a table of variables: name and example. */
function rows(table: 'outbound' | 'release'): [name: string, example: string][] {
  const cells = (line: string) => line.split(/(?<!\|) ?\| (?!\|)/).map((cell) => cell.trim())
  const lines = guide.split('\n').map((line) => line.replace(/ \|$/, ''))
  const head = lines.findIndex((line) => cells(line).join() === `,${table},holds,example`)
  const end = lines.indexOf('', head)
  return lines.slice(head + 2, end).map((line) => {
    const [, name = '', , example = ''] = cells(line)
    return [name.replaceAll('`', ''), example.replaceAll('`', '')]
  })
}

t.test('the guide lists exactly the variables that there are', async (t) => {
  t.same(
    rows('outbound').map(([name]) => name),
    Object.keys(outboundVariables),
  )
  t.same(
    rows('release').map(([name]) => name),
    Object.keys(releaseVariables),
  )
})

t.test('every variable has a value to be read, and no other name has', async (t) => {
  const names = (bindings: object) =>
    Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(bindings)))
      .filter(([, { get }]) => get !== undefined)
      .map(([name]) => name)
  t.same(names(outboundBindings(mail())), Object.keys(outboundVariables))
  t.same(names(releaseBindings(open())), Object.keys(releaseVariables))
})

t.test('every example of the guide is a condition that can be evaluated', async (t) => {
  for (const [name, example] of rows('outbound')) {
    t.ok(example.includes(name), example)
    const outbound = [`{ name: it, when: ${JSON.stringify(example)}, then: pass }`]
    const policy = policyOf({ groups: '{ board: [chair@acme.example] }', outbound })
    t.notMatch(decideOutbound(policy, mail()).rule, /error/, example)
  }
  for (const [name, example] of rows('release')) {
    t.ok(example.includes(name), example)
    const policy = policyOf({ release: [`{ name: it, when: ${JSON.stringify(example)}, then: deny, because: No. }`] })
    t.notMatch(decideRelease(policy, open()).rule, /error/, example)
  }
})

t.test('the recipes of the guide can be pasted into a file', async (t) => {
  const recipes = [...guide.matchAll(/```yaml\n([\s\S]*?)```/g)].map((found) => found[1] ?? '')
  t.ok(recipes.length >= 8)
  for (const recipe of recipes) {
    const indented = recipe.replace(/^(?=.)/gm, '  ')
    const text = /then: (allow|deny)/.test(recipe)
      ? policyText({}).replace(
          /^release: .*$/m,
          () => `release:\n  - { name: all, when: true, then: allow }\n${indented}`,
        )
      : policyText({}).replace('outbound: []', () => `outbound:\n${indented}`)
    const loaded = loadPolicy(text, 'recipe.yaml')
    t.same(loaded.kind === 'faulty' ? loaded.faults : [], [], recipe.slice(0, 40))
  }
})

t.test('the guide is about two pages', async (t) => {
  t.ok(guide.split('\n').length < 240)
})

for (const file of readdirSync(policies).filter((name) => name.endsWith('.yaml'))) {
  t.test(`${file} loads, and its tests reach every rule`, async (t) => {
    const text = readFileSync(join(policies, file), 'utf8')
    t.equal(text.split('\n')[0], '# yaml-language-server: $schema=./policy.schema.json')
    const loaded = loadPolicy(text, file)
    if (loaded.kind === 'faulty') return t.fail(JSON.stringify(loaded.faults, null, 1))
    const { policy } = loaded
    t.ok(file.startsWith(policy.org), 'the file bears the name of the organization')
    for (const { name } of [...policy.outbound, ...policy.release]) {
      t.ok(text.includes(`by: ${name}\n`) || text.includes(`observed: [${name}]\n`), name)
    }
    return t.end()
  })
}

t.test('every field of the schema says what it is for', async (t) => {
  const schema: unknown = JSON.parse(readFileSync(join(policies, 'policy.schema.json'), 'utf8'))
  const definitions = Reflect.get(schema as object, 'definitions') as Record<string, { description?: string }>
  const look = (node: unknown, path: string): void => {
    if (typeof node !== 'object' || node === null) return
    for (const [key, value] of Object.entries(node)) {
      if (key !== 'properties' || path.includes('/allOf')) look(value, `${path}/${key}`)
      else
        for (const [field, entry] of Object.entries(value as Record<string, { description?: string; $ref?: string }>)) {
          const said = entry.description ?? definitions[entry.$ref?.split('/').at(-1) ?? '']?.description
          t.ok(said, `${path}/${field}`)
          look(entry, `${path}/${field}`)
        }
    }
  }
  look(schema, '')
})
