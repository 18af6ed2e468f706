import { readdir, watch } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { run } from '../../cli/run.ts'
import { policyOf } from './house.ts'
import { attempt, type Letter, letter, retry } from './retrying-client.ts'
import { envelopeIn, sealedCopyIn } from './sink.ts'
import { openTrouble, until } from './trouble.ts'

/*
 * A rule holds mail to example.org; mail to example.net is sealed, colleagues get it as it is. Two gateways, an officer at the command line, and
 * a provider that can be told to stall.
 */
t.setTimeout(170_000)

const anna = 'anna@acme.example'
const bob = 'bob@example.org'
const eve = 'eve@example.org'
const cleo = 'cleo@example.net'
const bert = 'bert@acme.example'
const org = 'acme.example'
const policy = policyOf([
  '{name: colleagues, when: recipient.internal, then: pass}',
  "{name: by-link, when: recipient.address == 'eve@example.org', then: hold, because: Eve gets links., carry: link, subject: Protected}",
  "{name: looked-at, when: recipient.domain == 'example.org', then: hold, because: We look at these first., within: 2d, ttl: 3d}",
])

const trouble = await openTrouble(t, {
  policy,
  gateway: { spool: { retrySeconds: 1, retryMostSeconds: 2 }, limits: { budgetSeconds: 5 } },
})
const { provider, first, second, house } = trouble
await trouble.start('keyserver', 'gw1', 'gw2')

const held = (said: string) => /held until an officer decides: ([\w-]{22})/.exec(said)?.[1] ?? 'none'
const to = (recipient: string, mail: Letter) => trouble.copies(mail, recipient)
/** What came to the sender about a mail, by what its subject says. */
const notices = (mail: Letter, subject: string) =>
  provider.kept.filter(({ octets, recipients }) => {
    const text = octets.toString('latin1')
    return recipients.includes(anna) && text.includes(mail.id) && text.includes(`Subject: ${subject}`)
  })
const say = (action: string, ...more: string[]) => trouble.officer('held', action, org, ...more)
async function trace(id: string): Promise<string> {
  const said: string[] = []
  const say = (line: string) => void said.push(line)
  await run(['trace', id, '--database', house.database], { out: say, err: say })
  return said.join('\n')
}
const files = async (gateway: string) =>
  (await readdir(join(house.folder, gateway, 'held'))).filter((name) => !name.startsWith('.'))

async function nextFile(gateway: string): Promise<void> {
  for await (const { filename } of watch(join(house.folder, gateway, 'held'))) {
    if (filename !== null && !filename.startsWith('.')) return
  }
}

t.test(
  'held: the client gets its 250, the sender is told, and nothing is sent or can be read on the disk',
  async (t) => {
    const mail = letter([bob])
    const { code, said } = await attempt(first, mail)
    t.equal(code, 250)
    const id = held(said)
    t.match(id, /^[\w-]{22}$/, 'the 250 names the hold')
    await until('the notice', () => notices(mail, 'Your message is held').length > 0)
    const notice = await simpleParser(notices(mail, 'Your message is held')[0]?.octets ?? '')
    t.match(
      notice.text,
      /Acme looks at it before it goes to these addresses:\s+- bob@example\.org\s+Reason: We look at these first\./,
    )
    t.match(notice.text, /If nobody has decided until .* GMT, it is sent back\./)
    t.equal(notice.headers.get('auto-submitted'), 'auto-replied')
    t.same(await trouble.leaks(mail), [])

    for (const port of [first, second]) t.equal(held((await attempt(port, mail)).said), id, 'a client that tries again')
    t.equal((await files('gw1')).length + (await files('gw2')).length, 1, 'there is one')
    const { said: list } = await say('list')
    t.match(
      list,
      new RegExp(`^${id}  held .*  anna@acme\\.example to bob@example\\.org  \\d+ octets  by rule "looked-at"`, 'm'),
    )
    t.equal(list.split('\n').length, 1)
    await sleep(500)
    t.equal(to(bob, mail).length, 0)
    t.equal(notices(mail, 'Your message is held').length, 1, 'the sender is told once')

    const waiting = await trace(id)
    t.match(waiting, /verdict {3}held, by rule "looked-at"[\s\S]*now {7}held for an officer to decide, until 20/)
    t.match(waiting, /bob@example\.org {2}not sent yet/)
    t.match(waiting, /HELD at gateway gw1 for bob@example\.org, until an officer decides/)

    t.match(await say('release', id, '--reason', 'fine'), { code: 0, said: /Let go .* delivers it now/ })
    await until('it arrives', () => to(bob, mail).length > 0)
    const octets = to(bob, mail)[0]?.octets ?? Buffer.alloc(0)
    t.equal(envelopeIn(octets), id)
    const reader = await trouble.prove(id, bob)
    const sealed = sealedCopyIn(octets)
    const { release, message } = await reader.open(id, sealed).then(async (opened) => {
      return { release: await reader.release(sealed), message: opened.message }
    })
    t.ok(Buffer.from(message).includes(mail.canary), 'and opens')
    const left = (Date.parse(release.expiresAt) - Date.now()) / 86_400_000
    t.ok(left > 2.9 && left <= 3, `for the three days of its rule from now on, ${left}`)
    t.match(octets.toString('latin1'), release.expiresAt.slice(8, 10), 'as its notice says')
    await until('the file is gone', async () => (await files('gw1')).length === 0)
    t.match(await say('show', id), { code: 0, said: /state +let go[\s\S]*decided .* by officer1: fine/ })
    t.match(
      await trace(id),
      /verdict {3}sealed[\s\S]*LET GO by officer officer1: fine[\s\S]*next hop took it for bob@example\.org/,
    )
    t.match(await say('return', id, '--reason', 'too late'), { code: 1, said: /was let go by officer1/ })
    t.same(await trouble.leaks(mail), [])
  },
)

t.test('sent back: the sender reads the reason and gets the header only, and nobody the mail', async (t) => {
  const mail = letter([bob])
  const id = held((await attempt(first, mail)).said)
  t.match(await say('return', id, '--reason', 'Preisliste gehört nicht hinaus'), { code: 0, said: /Sent back/ })
  await until('the notice', () => notices(mail, 'Your message was sent back').length > 0)
  const [kept] = notices(mail, 'Your message was sent back')
  t.equal(kept?.sender, '', 'from nobody, so that nothing answers it')
  const { text, headers } = await simpleParser(kept?.octets ?? '')
  t.match(text, /was held, and is sent back[\s\S]*- bob@example\.org\s+Reason: Preisliste gehört nicht hinaus/)
  t.equal(headers.get('auto-submitted'), 'auto-replied')
  t.notOk(kept?.octets.includes(mail.canary))
  await until('the file is gone', async () => (await files('gw1')).length === 0)
  t.equal(to(bob, mail).length, 0)
  t.match(await trace(id), /now {7}sent back to its sender[\s\S]*SENT BACK by officer officer1: Preisliste/)
  t.match(await attempt(first, mail), { code: 550 }, 'a client that tries again hears that it was refused')
})

t.test('of one mail some is held, some sealed, some passed: each has its fate, and its own notice', async (t) => {
  const mail = letter([bob, cleo, bert, eve])
  const { code, said } = await attempt(first, mail)
  t.equal(code, 250)
  t.match(said, /next hop: 250 .*; held until an officer decides: [\w-]{22}, [\w-]{22}$/m)
  t.equal(to(cleo, mail).length, 1)
  t.equal(to(bert, mail).length, 1)
  t.same([to(bob, mail).length, to(eve, mail).length], [0, 0])
  await until('both notices', () => notices(mail, 'Your message is held').length === 2)
  const ids = (/decides: ([\w-]{22}), ([\w-]{22})/.exec(said) ?? []).slice(1)
  for (const id of ids) t.equal((await say('release', id)).code, 0)
  await until('bob has it', () => to(bob, mail).length > 0)
  await until('eve has it', () => to(eve, mail).length > 0)
  const eves = to(eve, mail)[0]?.octets ?? Buffer.alloc(0)
  t.match(eves.toString('latin1'), /^Subject: Protected\r$/m)
  t.notMatch(eves.toString('latin1'), /A letter|protected-message\.sealpost/)
  const reader = await trouble.prove(envelopeIn(eves), eve)
  const copy = await reader.fetchCopy(envelopeIn(eves))
  t.ok(Buffer.from((await reader.open(envelopeIn(eves), copy)).message).includes(mail.canary), 'by its link')
  t.equal(to(cleo, mail).length, 1)
})

t.test('what is revoked while it is held goes without a word', async (t) => {
  const mail = letter([bob])
  const id = held((await attempt(first, mail)).said)
  t.match(await trouble.officer('revoke', org, id, '--reason', 'asked for'), { code: 0 })
  await until('the file is gone', async () => (await files('gw1')).length === 0)
  t.match(await say('release', id), { code: 1, said: /revoked/ })
  t.equal(to(bob, mail).length, 0)
})

t.test('killed between letting go and delivery, and after the dot: it arrives once', async (t) => {
  const letters = [letter([bob]), letter([bob], { size: 3_000_000 })]
  const ids: string[] = []
  for (const mail of letters) ids.push(held((await attempt(first, mail)).said))
  t.equal((await files('gw1')).length, 2)
  t.same(await trouble.leaks(...letters), [])
  await trouble.kill('gw1')
  t.same(await trouble.leaks(...letters), [])
  for (const id of ids) t.equal((await say('release', id)).code, 0, 'while the gateway is down')
  let stalled = 0
  const forever = new Promise<null>(() => undefined)
  provider.play(({ phase, recipients }) => {
    if (phase !== 'rcpt' && !recipients.includes(bob)) return undefined
    if (phase === 'data') stalled += 1
    return phase === 'data' ? forever : undefined
  })
  await trouble.start('gw1')
  await until('both are under way', () => stalled >= 2)
  await trouble.kill('gw1')
  provider.play(null)
  await trouble.start('gw1')
  await until('both arrive', () => letters.every((mail) => to(bob, mail).length > 0))
  await until('nothing is held', async () => (await files('gw1')).length === 0)
  await sleep(1_500)
  for (const mail of letters) t.equal(to(bob, mail).length, 1)
  t.same(await trouble.leaks(...letters), [])
})

t.test('killed at any instant while it holds: what got its 250 is held once, and arrives once', async (t) => {
  const handed: { readonly mail: Letter; readonly id: string }[] = []
  let isOver = false
  const clients = Array.from({ length: 2 }, async () => {
    while (!isOver) {
      const mail = letter([bob], { size: 20_000 })
      const last = (await retry(mail, { ports: [first, second], every: 100, patience: 5_000, within: 20_000 })).at(-1)
      if (last?.code === 250) handed.push({ mail, id: held(last.said) })
      await sleep(150)
    }
  })
  for (let kills = 0; kills < 5; kills++) {
    await sleep(300 + Math.random() * 300)
    // A file is there a moment before its mail is confirmed as held, and that before the 250.
    await nextFile('gw1')
    await trouble.kill('gw1')
    await trouble.start('gw1')
  }
  isOver = true
  await Promise.all(clients)
  t.ok(handed.length > 10, `${handed.length} were taken`)
  const listed = JSON.parse((await say('list', '--json')).said) as { readonly held: readonly { readonly id: string }[] }
  const waiting = new Set(listed.held.map(({ id }) => id))
  t.same(
    handed.filter(({ id }) => !waiting.has(id)),
    [],
    'each waits for the officer',
  )
  t.equal(new Set(handed.map(({ id }) => id)).size, handed.length)
  for (const id of waiting) await say('release', id)
  await until('all arrive', () => handed.every(({ mail }) => to(bob, mail).length > 0), 30_000)
  await until('nothing is held', async () => [...(await files('gw1')), ...(await files('gw2'))].length === 0, 30_000)
  t.same(
    handed.filter(({ mail }) => to(bob, mail).length !== 1),
    [],
    'and once',
  )
  t.same(await trouble.leaks(...handed.slice(0, 5).map(({ mail }) => mail)), [])
  t.comment(`${handed.length} held and let go`)
})

t.test('the log tells all of it, and verifies', async (t) => {
  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '')
  const kinds = new Set(trouble.records().map(({ kind }) => kind))
  for (const kind of ['held', 'let-go', 'returned', 'hold-refused', 'act'] as const) t.ok(kinds.has(kind), kind)
})
