import { readdirSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Moment } from './flaky-provider.ts'
import { policyOf } from './house.ts'
import { attempt, type Letter, letter } from './retrying-client.ts'
import { envelopeIn } from './sink.ts'
import { openTrouble, type Trouble, until } from './trouble.ts'

t.setTimeout(120_000)

/* A provider that finds mail too large when it sees it: sealed mail then goes by link, where it may. */
const bob = 'bob@example.org'
const eve = 'eve@example.net'
const policy = policyOf([
  '{name: colleagues, when: recipient.internal, then: pass}',
  "{name: by-mail, when: message.subject.contains('carried'), then: seal, carry: mail}",
])
const LARGE = 600_000
/** Octets on the wire from which the provider refuses. */
const LIMIT = 400_000

/** Refuses what is too large at that step; `only`: to this recipient. */
const refusing = (phase: Moment['phase'], said: string, only = '') => {
  let announced = 0
  return (moment: Moment) => {
    if (moment.phase === 'mail') announced = Number(/ SIZE=(\d+)/.exec(moment.line)?.[1] ?? 0)
    const large = announced > LIMIT && (phase !== 'dot' || moment.size > LIMIT)
    return large && moment.phase === phase && moment.line.includes(only) ? said : undefined
  }
}

async function opens(t: Test, trouble: Trouble, mail: Letter, octets: Buffer, recipient: string): Promise<void> {
  const id = envelopeIn(octets)
  const reader = await trouble.prove(id, recipient)
  const { message } = await reader.open(id, await reader.fetchCopy(id))
  t.ok(Buffer.from(mail.octets).equals(message), `${recipient} opens it by link`)
}

/** Every sealed copy that lies in a file is taken away. */
async function emptied(folder: string): Promise<void> {
  const all = await readdir(folder, { recursive: true })
  for (const path of all.filter((one) => /\/[\w-]{22}$/.test(one))) await rm(join(folder, path), { force: true })
}

/** Outcomes of an envelope, as the log has them. */
const outcomesOf = (trouble: Trouble, id: string) =>
  trouble.records().flatMap((one) => (one.kind === 'outcome' && one.envelope === id ? [one.outcome] : []))

t.test('delivered inline', async (t) => {
  const trouble = await openTrouble(t, { policy })
  const { provider, first } = trouble
  await trouble.start('keyserver', 'gw1')
  const cases = [
    ['at MAIL, as announced', 'mail', '552 5.3.4 message too big'],
    ['at MAIL, without an enhanced code', 'mail', '552 too much mail data'],
    ['at DATA', 'data', '554 5.3.4 message too big'],
    ['in the middle of the content', 'content', '552 5.3.4 message too big'],
    ['after the dot', 'dot', '552 5.3.4 message too big'],
  ] as const
  for (const [name, phase, said] of cases) {
    await t.test(`refused ${name}: everybody has it by link, once, in the same envelope`, async (t) => {
      // Enough that it is not through before the refusal is heard.
      const mail = letter([bob, eve], { size: phase === 'content' ? 9_000_000 : LARGE })
      provider.play(refusing(phase, said))
      t.match(await attempt(first, mail), { code: 250, said: /kept as/ })
      for (const to of mail.to) t.equal(trouble.copies(mail, to).length, 1, to)
      const [kept] = trouble.copies(mail, bob)
      t.strictSame(kept?.recipients, [bob, eve])
      t.ok((kept?.octets.length ?? LARGE) < 50_000, 'it does not carry its envelope')
      t.match(kept?.octets.toString('latin1'), /kept, encrypted, by the organization/)
      t.strictSame(outcomesOf(trouble, envelopeIn(kept?.octets ?? Buffer.alloc(0))), ['sent', 'sent'])
      provider.play(null)
      await opens(t, trouble, mail, kept?.octets ?? Buffer.alloc(0), bob)
      t.match(await attempt(first, mail), { code: 250, said: /earlier attempt/ }, 'a retry sends nothing')
    })
  }

  await t.test('refused at one of two RCPT: one has it attached, the other by link, in one envelope', async (t) => {
    const mail = letter([bob, eve], { size: LARGE })
    provider.play(refusing('rcpt', '552 5.2.3 too big for this mailbox', eve))
    t.match(await attempt(first, mail), { code: 250 })
    const [toBob, toEve] = [trouble.copies(mail, bob), trouble.copies(mail, eve)]
    t.strictSame([toBob.length, toEve.length], [1, 1])
    t.ok((toBob[0]?.octets.length ?? 0) > LARGE && (toEve[0]?.octets.length ?? LARGE) < 50_000)
    t.equal(envelopeIn(toBob[0]?.octets ?? Buffer.alloc(0)), envelopeIn(toEve[0]?.octets ?? Buffer.alloc(0)))
    provider.play(null)
    await opens(t, trouble, mail, toEve[0]?.octets ?? Buffer.alloc(0), eve)
  })

  await t.test('put off by link: the client tries again, and nobody gets two', async (t) => {
    const mail = letter([bob, eve], { size: LARGE })
    const large = refusing('rcpt', '552 5.3.4 too big', eve)
    let mails = 0
    provider.play((moment) => {
      if (moment.phase === 'mail') mails += 1
      return mails === 2 && moment.phase === 'rcpt' ? '451 4.2.1 later' : large(moment)
    })
    t.match(await attempt(first, mail), { code: 451, said: /later/ })
    t.strictSame([trouble.copies(mail, bob).length, trouble.copies(mail, eve).length], [1, 0])
    t.match(await attempt(first, mail), { code: 250 })
    t.strictSame([trouble.copies(mail, bob).length, trouble.copies(mail, eve).length], [1, 1])
  })

  await t.test('refused by link as well: the provider has the last word, and nothing goes round', async (t) => {
    const mail = letter([bob], { size: LARGE })
    let mails = 0
    provider.play(({ phase }) => {
      if (phase !== 'mail') return undefined
      mails += 1
      return '552 5.3.4 too big'
    })
    t.match(await attempt(first, mail), { code: 552, said: /^552 5\.3\.4 too big/ })
    t.equal(mails, 2)
  })

  await t.test('what must be carried, and what is passed, is refused as the provider says', async (t) => {
    provider.play(refusing('mail', '552 5.3.4 too big'))
    const carried = letter([bob], { size: LARGE, tag: 'carried' })
    t.match(await attempt(first, carried), { code: 552, said: /^552 5\.3\.4 too big/ })
    const passed = letter(['bert@acme.example'], { size: LARGE })
    t.match(await attempt(first, passed), { code: 552, said: /^552 5\.3\.4 too big/ })
    t.equal(trouble.copies(carried, bob).length, 0)
  })

  await t.test('nothing goes by a link that would lead nowhere', async (t) => {
    const mail = letter([bob], { size: LARGE })
    const large = refusing('mail', '552 5.3.4 too big')
    provider.play(async (moment) => {
      const said = large(moment)
      if (said !== undefined) await emptied(join(trouble.house.folder, 'gw1', 'copies'))
      return said
    })
    t.match(await attempt(first, mail), { code: 552, said: /^552 5\.3\.4 too big/ })
    t.equal(trouble.copies(mail, bob).length, 0)
  })

  await t.test('no room in a mailbox is another matter', async (t) => {
    const mail = letter([bob], { size: LARGE })
    provider.play(refusing('rcpt', '552 5.2.2 mailbox full'))
    t.match(await attempt(first, mail), { code: 552, said: /mailbox full/ })
    t.equal(trouble.copies(mail, bob).length, 0)
  })

  await t.test('the gateway is killed between the two: the retry delivers, by link', async (t) => {
    const mail = letter([bob], { size: LARGE })
    const large = refusing('mail', '552 5.3.4 too big')
    let mails = 0
    provider.play(async (moment) => {
      if (moment.phase === 'mail' && ++mails === 2) await trouble.kill('gw1')
      return large(moment)
    })
    t.match(await attempt(first, mail), { code: 0 })
    provider.play(large)
    await trouble.start('gw1')
    t.match(await attempt(first, mail), { code: 250 })
    const [kept, second] = trouble.copies(mail, bob)
    t.equal(second, undefined)
    provider.play(null)
    await opens(t, trouble, mail, kept?.octets ?? Buffer.alloc(0), bob)
  })

  const metrics = await (await fetch(`http://127.0.0.1:${trouble.house.ports.gatewayOps}/metrics`)).text()
  t.match(metrics, 'sealpost_gateway_by_link_total 1\n', 'counted since the last start')
  t.match(metrics, 'sealpost_gateway_recipients_total{outcome="sent"} 1\n')
  t.notMatch(metrics, 'outcome="failed"')
})

t.test('the refusal comes when the client has its 250 already: the spool goes on, by link', async (t) => {
  const trouble = await openTrouble(t, { policy, gateway: { limits: { budgetSeconds: 5 } } })
  const { provider, first } = trouble
  await trouble.start('keyserver', 'gw1')
  const large = refusing('dot', '552 5.3.4 too big')
  let answer = () => {}
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  provider.play(async (moment) => {
    const said = large(moment)
    if (said !== undefined) await answered
    return said
  })
  const mail = letter([bob], { size: LARGE })
  t.match(await attempt(first, mail), { code: 250, said: /kept here/ })
  answer()
  await until('it is delivered', () => trouble.copies(mail, bob).length > 0)
  const octets = trouble.copies(mail, bob)[0]?.octets ?? Buffer.alloc(0)
  t.ok(octets.length < 50_000)
  const outcomes = () => outcomesOf(trouble, envelopeIn(octets))
  await until('the outcome is told', () => outcomes().includes('sent'))
  t.strictSame(outcomes(), ['deferred', 'sent'], 'in the log it was put off, not refused')
  provider.play(null)
  await opens(t, trouble, mail, octets, bob)
})

t.test('delivered from the spool', async (t) => {
  const trouble = await openTrouble(t, {
    policy,
    spools: true,
    gateway: { spool: { retrySeconds: 1, retryMostSeconds: 1 } },
  })
  const { provider, first, house } = trouble
  await trouble.start('keyserver', 'gw1')
  const queue = () => readdirSync(join(house.folder, 'gw1', 'spool')).length

  await t.test('everybody has it by link, once', async (t) => {
    const mail = letter([bob, eve], { size: LARGE })
    provider.play(refusing('dot', '552 5.3.4 too big'))
    t.match(await attempt(first, mail), { code: 250 })
    await until('it is delivered', () => trouble.copies(mail, eve).length > 0)
    await until('the spool is empty', () => queue() === 0)
    t.strictSame([trouble.copies(mail, bob).length, trouble.copies(mail, eve).length], [1, 1])
    const [kept] = trouble.copies(mail, bob)
    t.ok((kept?.octets.length ?? LARGE) < 50_000)
    provider.play(null)
    await opens(t, trouble, mail, kept?.octets ?? Buffer.alloc(0), bob)
    t.same(await trouble.leaks(mail), [])
  })

  await t.test('one in whose way nothing stands has it attached, and is not sent another', async (t) => {
    const mail = letter([bob, eve], { size: LARGE })
    const large = refusing('rcpt', '552 5.2.3 too big for this mailbox', eve)
    let killed = false
    provider.play(async (moment) => {
      if (moment.phase !== 'mail' || killed || trouble.copies(mail, bob).length === 0) return large(moment)
      killed = true
      await trouble.kill('gw1')
      return null
    })
    t.match(await attempt(first, mail), { code: 250 })
    await until('the gateway is dead', () => killed)
    await trouble.start('gw1')
    await until('it is delivered', () => trouble.copies(mail, eve).length > 0)
    await until('the spool is empty', () => queue() === 0)
    t.strictSame([trouble.copies(mail, bob).length, trouble.copies(mail, eve).length], [1, 1])
    t.ok((trouble.copies(mail, eve)[0]?.octets.length ?? LARGE) < 50_000)
  })

  await t.test('what must be carried is bounced, in words that say what would help', async (t) => {
    const mail = letter([bob], { size: LARGE, tag: 'carried' })
    provider.play(refusing('mail', '552 5.3.4 too big'))
    t.match(await attempt(first, mail), { code: 250 })
    await until('the bounce', () =>
      provider.kept.some(({ sender, octets }) => sender === '' && octets.includes(mail.id)),
    )
    const bounce = provider.kept.find(({ sender, octets }) => sender === '' && octets.includes(mail.id))
    t.match(bounce?.octets.toString('latin1'), /too large for the next mail server[\s\S]*carryLimit/)
  })
  await trouble.stop('gw1')
  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '')
})
