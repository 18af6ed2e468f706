import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Failure, UsageError } from '../../cli/io.ts'
import { policy } from '../../cli/policy.ts'
import { policyText } from './policy-file.ts'

const sample = join(import.meta.dirname, '../../policies/acme.example.yaml')
const good = policyText({})
const failing = good.replace(
  'outbound: [], release: []',
  "outbound: [{ name: x, mail: { sender: '', to: a@b.example }, expect: pass }], release: []",
)

async function run(...argv: string[]) {
  const lines: { out: string[]; err: string[] } = { out: [], err: [] }
  const exit = await policy(argv, { out: (line) => lines.out.push(line), err: (line) => lines.err.push(line) })
  return { exit, ...lines }
}

t.test('check says that a good file is good', async (t) => {
  const { exit, out, err } = await run('check', sample)
  t.equal(exit, 0)
  t.same(err, [])
  t.match(out, [/acme\.example\.yaml: good; .* hash [0-9a-f]{64}$/])
})

t.test('check names each fault as file:line:column, with what to write instead', async (t) => {
  const folder = t.testdir({ 'bad.yaml': good.replace('default: seal', 'default: sael\nwhat: 1'), 'good.yaml': good })
  const { exit, out, err } = await run('check', join(folder, 'bad.yaml'), join(folder, 'good.yaml'))
  t.equal(exit, 1)
  t.match(err, [/bad\.yaml:6:10 'default' is 'sael'.*\n {4}write 'seal'/, /bad\.yaml:7:1 unknown field 'what'/])
  t.match(out, [/good\.yaml: good/], 'the other file is still looked at')
})

t.test('test prints each case and counts', async (t) => {
  const { exit, out } = await run('test', sample)
  t.equal(exit, 0)
  t.match(out[0], /^passed {2}outbound: /)
  t.match(out.at(-1), /: \d+ passed, 0 failed$/)
})

t.test('a failing case is told with what came out, by both', async (t) => {
  const folder = t.testdir({ 'f.yaml': failing })
  const tested = await run('test', join(folder, 'f.yaml'))
  t.equal(tested.exit, 1)
  t.match(tested.out, [
    /^FAILED {2}outbound: x\n {8}expected pass, came out seal by 'default' for 30d$/,
    /0 passed, 1 failed/,
  ])
  const checked = await run('check', join(folder, 'f.yaml'))
  t.equal(checked.exit, 1)
  t.match(checked.err, [/f\.yaml:8:21 the test 'x' fails/])
})

t.test('a file that cannot be read is 2, and says why', async (t) => {
  const folder = t.testdir({ 'latin1.yaml': Buffer.from('# caf\xe9\n', 'latin1'), 'big.yaml': 'a'.repeat(600_000) })
  t.match(await run('check', join(folder, 'none.yaml')), { exit: 2, err: [/no such file/] })
  t.match(await run('check', folder), { exit: 2, err: [/a folder, not a file/] })
  t.match(await run('check', join(folder, 'latin1.yaml')), { exit: 2, err: [/not UTF-8/] })
  t.match(await run('test', join(folder, 'big.yaml')), { exit: 2, err: [/too large/] })
})

t.test('asked wrongly, it says how to ask', async (t) => {
  for (const argv of [[], ['lint', 'x'], ['check'], ['test', '--all']]) await t.rejects(run(...argv), UsageError)
})

t.test('the rule that holds, in the sample for whoever wants it, works as it stands', async (t) => {
  const text = readFileSync(sample, 'utf8')
  const rule = /^ {2}# - name: price-lists\n(?: {2}# {3}.*\n)+/m.exec(text)?.[0] ?? ''
  const test =
    '    - name: a price list is held\n      mail: { sender: anna@acme.example, to: kunde@example.org, attachments: [{ name: pricelist.pdf, type: application/pdf }] }\n      expect: hold\n      by: price-lists\n      ttl: 30d\n'
  const eml =
    'From: Anna <anna@acme.example>\nTo: bob@example.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=PriceList-2027.pdf\n\nx\n--b--\n'
  const folder = t.testdir({
    'acme.example.yaml': text
      .replace(rule, rule.replaceAll('  # ', '  '))
      .replace('tests:\n  outbound:\n', `tests:\n  outbound:\n${test}`),
    'mail.eml': eml,
  })
  const policy = join(folder, 'acme.example.yaml')
  t.match(await run('check', policy), { exit: 0 })
  const asked = ['--mail', join(folder, 'mail.eml'), '--to', 'bob@example.org', '--sender', 'anna@acme.example']
  t.match(
    (await run('explain', policy, ...asked)).out[0],
    /: hold, 2d for an officer to decide, then for 30d, by rule 'price-lists': Price lists/,
  )
})

t.test('explain reads a mail as the gateway does, and says why', async (t) => {
  const eml =
    'From: Anna <anna@acme.example>\nTo: bob@example.org\nSubject: =?utf-8?q?=5BSecure=5D?= draft [ttl:2d]\n\nHello\n'
  const mail = join(t.testdir({ 'mail.eml': eml, 'bad.yaml': 'version: 2' }), 'mail.eml')
  const asked = ['explain', sample, '--mail', mail, '--to', 'Bob@Example.org', '--sender', 'anna@acme.example']
  const { exit, out } = await run(...asked)
  t.equal(exit, 0)
  t.equal(out[0], "bob@example.org: seal for 2d, by rule 'tagged-secure'")
  t.ok(out.includes('=> tagged-secure (seal): true'))
  t.ok(out.includes('   internal (pass): false'))
  t.match(out.join('\n'), /true {3}"secure" in message\.tags {4}\[message\.tags is \["secure","ttl:2d"\]\]/)
  t.match((await run(...asked, '--scan', 'infected')).out[0], /: refuse, by what the scanner said: a scanner found/)
  await t.rejects(run(...asked, '--scan', 'perhaps'), UsageError)
  await t.rejects(run('explain', sample, '--mail', mail, '--to', 'bob'), UsageError)
  await t.rejects(run('explain', join(mail, '../bad.yaml'), '--mail', mail, '--to', 'a@b.example'), Failure)
  await t.rejects(run('explain', sample, '--mail', 'none.eml', '--to', 'a@b.example'), Failure)
})
