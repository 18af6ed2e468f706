import { readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import t from 'tap'
import { dkim } from '../../cli/dkim.ts'
import { run } from '../../cli/run.ts'
import { dkimKeyFault, isRecordOf } from '../../gateway/dkim-key.ts'
import { capture } from './capture.ts'

for (const [type, lengths] of [
  ['rsa', [255, 155]],
  ['ed25519', [66]],
] as const) {
  t.test(`a key of type ${type} is readable by its owner alone, and its record is ready to be pasted`, async (t) => {
    const io = capture()
    const file = join(t.testdir(), 'dkim.key')
    t.equal(await dkim(['Bücher.example', '--selector', 'S2026', '--to', relative('', file), '--type', type], io), 0)
    t.equal(statSync(file).mode & 0o777, 0o600)
    const pem = readFileSync(file, 'utf8')
    t.equal(dkimKeyFault(pem), null)
    const record = /^s2026\._domainkey\.xn--bcher-kva\.example\. 3600 IN TXT \( (.+) \)$/m.exec(io.text())?.[1] ?? ''
    const strings = Array.from(record.matchAll(/"([^"]*)"/g), ([, text = '']) => text)
    t.same(
      strings.map((text) => text.length),
      lengths,
      'strings of up to 255 octets',
    )
    t.ok(isRecordOf(strings.join(''), pem), 'which together are the public half')
    t.notOk(isRecordOf(strings.join('').replace(/.{9}$/, 'AAAAAAAAA'), pem))
    t.notMatch(io.text(), /PRIVATE/)
    t.match(io.text(), `{domain: xn--bcher-kva.example, selector: s2026, key: ${file}}`, 'wherever gateway.yaml lies')
  })
}

t.test('a record is known by its tags, however it is written', async (t) => {
  const io = capture()
  const file = join(t.testdir(), 'dkim.key')
  await dkim(['acme.example', '--selector', 's', '--to', file, '--type', 'ed25519'], io)
  const pem = readFileSync(file, 'utf8')
  const [, p = ''] = /p=([^"]+)/.exec(io.text()) ?? []
  t.ok(isRecordOf(`p=${p.slice(0, 9)} ${p.slice(9)} ; t=y;k=ed25519;`, pem))
  t.notOk(isRecordOf(`v=DKIM1; p=${p}`, pem), 'rsa is meant where k is missing')
  t.notOk(isRecordOf('v=DKIM1; k=ed25519; p=', pem), 'a withdrawn key (RFC 6376 3.6.1)')
})

t.test('an old key is never written over', async (t) => {
  const file = join(t.testdir({ 'dkim.key': 'old' }), 'dkim.key')
  const io = capture()
  t.equal(await run(['dkim', 'acme.example', '--selector', 's', '--to', file, '--type', 'ed25519'], io), 1)
  t.match(io.errors(), /is there already; nothing was written/)
  t.equal(readFileSync(file, 'utf8'), 'old')
})

t.test('what is asked wrongly is told, and no file is made', async (t) => {
  const folder = t.testdir()
  const to = join(folder, 'dkim.key')
  for (const argv of [
    [],
    ['no domain', '--selector', 's', '--to', to],
    ['acme.example', '--to', to],
    ['acme.example', '--selector', 'a b', '--to', to],
    ['acme.example', '--selector', 's'],
    ['acme.example', '--selector', 's', '--to', to, '--type', 'dsa'],
    ['acme.example', 'example.org', '--selector', 's', '--to', to],
  ]) {
    const io = capture()
    t.equal(await run(['dkim', ...argv], io), 2, argv.join(' '))
    t.match(io.errors(), /Help: sealpost help dkim/)
  }
  const io = capture()
  t.equal(await run(['dkim', 'acme.example', '--selector', 's', '--to', join(folder, 'none', 'x')], io), 1)
  t.match(io.errors(), /there is no such folder/)
  t.throws(() => statSync(to))
})
