import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { Failure, UsageError } from '../../cli/io.ts'
import { notice } from '../../cli/notice.ts'
import { loadPolicy } from '../../rulebook/index.ts'
import { policyText } from '../rulebook/policy-file.ts'
import { capture } from './capture.ts'

const own = `
  ours:
    language: nl
    text: |
      Groeten van {organization}: {link}
    html: |
      <p>Groeten van {organization}: <a href="{link}">{link}</a></p>`
const text = policyText({
  notices: own,
  sealing: '{ notice: [de, en] }',
  outbound: [
    '{ name: french, when: message.list, then: seal, notice: fr, ttl: 2d }',
    '{ name: ours, when: message.signed, then: seal, notice: ours }',
    '{ name: passes, when: message.report, then: pass }',
  ],
})

t.test('the notice of the policy, of a rule, of a name and of a language can be looked at', async (t) => {
  const folder = t.testdir({})
  const policy = join(folder, 'acme.yaml')
  writeFileSync(policy, text)
  const cases: [string[], RegExp][] = [
    [['--policy', policy], /hat Ihnen[\s\S]*sent you/],
    [['--policy', policy, '--rule', 'french'], /\(2 jours après l'envoi\)/],
    [['--policy', policy, '--rule', 'ours', '--name', 'Acme Tools'], /^Groeten van Acme Tools: https:/],
    [['--policy', policy, '--notice', 'ours'], /^Groeten van acme.example: https:/],
    [['--language', 'it,es'], /Le ha inviato[\s\S]*le ha enviado/],
    [['--link'], /kept, encrypted, by the organization/],
    [[], /sent you a protected message/],
  ]
  for (const [argv, expected] of cases) {
    const io = capture()
    t.equal(await notice(['preview', ...argv], io), 0, argv.join(' '))
    t.match(io.text(), expected)
  }
})

t.test('files are written for browser and mail program, and the mail reads as one', async (t) => {
  const folder = t.testdir({})
  const out = join(folder, 'a', 'b')
  const io = capture()
  await notice(['preview', '--language', 'de', '--out', out], io)
  t.same(readdirSync(out).sort(), ['notice.eml', 'notice.html', 'notice.txt'])
  t.match(io.text(), 'notice.html  open it in a browser')
  const mail = await simpleParser(readFileSync(join(out, 'notice.eml')))
  t.equal(mail.attachments[0]?.filename, 'protected-message.sealpost')
  t.equal(mail.headers.get('content-language'), 'de')
  t.ok(typeof mail.html === 'string' && mail.html.includes('geschützte Nachricht'))
  t.match(readFileSync(join(out, 'notice.html'), 'utf8'), '<html lang="de">')
})

t.test('what cannot be shown is said, with what there is', async (t) => {
  const folder = t.testdir({})
  const policy = join(folder, 'acme.yaml')
  writeFileSync(policy, text)
  const run = (...argv: string[]) => notice(argv, capture())
  await t.rejects(
    run('preview', '--policy', policy, '--rule', 'passes'),
    new Failure("no rule 'passes' seals; those that do: french, ours"),
  )
  await t.rejects(run('preview', '--policy', policy, '--notice', 'x'), {
    message: "no notice 'x' stands under notices:; there are: ours",
  })
  await t.rejects(run('preview', '--language', 'pl'), UsageError)
  await t.rejects(run('preview', '--rule', 'x'), { message: /needs --policy/ })
  await t.rejects(run('preview', '--language', 'de', '--rule', 'x'), UsageError)
  await t.rejects(run('show'), UsageError)
  await t.rejects(run('preview', '--org', 'nowhere.example'), { message: /cannot be read/ })
  writeFileSync(policy, text.replace('{organization}: {link}', '{organisation}: {link}'))
  await t.rejects(run('preview', '--policy', policy), {
    message: /acme.yaml:\d+:\d+ unknown slot '{organisation}'\n {4}write {organization}/,
  })
})

t.test('the examples of docs/notices.md are policies', async (t) => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/notices.md'), 'utf8')
  const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map((found) => found[1] ?? '')
  t.equal(examples.length, 2)
  for (const example of examples) {
    const written = example.includes('outbound:') ? policyText({}).replace('outbound: []\n', '') : policyText({})
    const loaded = loadPolicy(
      written.replace('ttl:', () => `${example}ttl:`),
      'example.yaml',
    )
    t.same(loaded.kind === 'faulty' ? loaded.faults : [], [])
  }
})
