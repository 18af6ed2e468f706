import Database from 'better-sqlite3'
import t from 'tap'
import { createRecipient, Refused } from '../../cli/recipient.ts'
import { openDialogue } from './dialogue.ts'
import { attempt, letter, retry } from './retrying-client.ts'
import { envelopeIn, sealedCopyIn } from './sink.ts'
import { codeFor, openTrouble, until } from './trouble.ts'

t.test('the key server dies again and again, and comes back on the same database', async (t) => {
  const trouble = await openTrouble(t)
  const { provider, first, house } = trouble
  await trouble.start('keyserver', 'gw1', 'gw2')

  await t.test('dead before it is asked: 451, nothing leaves, and the retry delivers one copy', async (t) => {
    const mail = letter(['bob@example.org', 'eve@example.net'])
    await trouble.kill('keyserver')
    const dead = await attempt(first, mail)
    t.match(dead, { code: 451, said: /4\.3\.0/ })
    t.equal(provider.seen.length, 0, 'not an octet has left')
    await trouble.start('keyserver')
    const last = (await retry(mail, { ports: [first, trouble.second] })).at(-1)
    t.match(last, { code: 250 })
    for (const to of mail.to) t.equal(trouble.copies(mail, to).length, 1)
    t.same(await trouble.leaks(mail), [])
  })

  await t.test('killed while the client is in the middle of its DATA: the same', async (t) => {
    const mail = letter(['bob@example.org'], { size: 200_000 })
    const dialogue = await openDialogue(first)
    for (const line of ['MAIL FROM:<anna@acme.example>', 'RCPT TO:<bob@example.org>', 'DATA']) await dialogue.say(line)
    dialogue.write(mail.octets.subarray(0, 100_000))
    await trouble.kill('keyserver')
    dialogue.write(mail.octets.subarray(100_000))
    dialogue.write('.\r\n')
    t.match(await dialogue.reply(), /^451 4\.3\.0 /)
    t.equal(trouble.copies(mail, 'bob@example.org').length, 0)
    await trouble.start('keyserver')
    t.match((await retry(mail, { ports: [first] })).at(-1), { code: 250 })
    t.equal(trouble.copies(mail, 'bob@example.org').length, 1)
    t.same(await trouble.leaks(mail), [])
  })

  await t.test('killed between issue and confirm: 451, nothing leaves, the retry uses the same envelope', async (t) => {
    // Large enough that sealing takes a while, and it is deflated besides.
    const mail = letter(['bob@example.org'], { size: 22_000_000 })
    const rows = issues(house.database)
    const before = rows.count()
    const dying = attempt(first, mail)
    await until('the issue', () => rows.count() > before)
    await trouble.kill('keyserver')
    t.match(await dying, { code: 451 })
    t.equal(rows.unconfirmed(), 1, 'it was killed in time')
    rows.close()
    t.equal(trouble.copies(mail, 'bob@example.org').length, 0)
    await trouble.start('keyserver')
    t.match((await retry(mail, { ports: [first, trouble.second] })).at(-1), { code: 250 })
    const [copy, ...more] = trouble.copies(mail, 'bob@example.org')
    t.same(more, [])
    const id = envelopeIn(copy?.octets ?? Buffer.alloc(0))
    const issued = trouble.records().filter((one) => one.kind === 'issued' && one.envelope === id)
    t.equal(issued.length, 2, 'both issues in the log are of the one envelope')
    t.same(await trouble.leaks(mail), [])
  })

  await t.test(
    'killed between confirm and outcome: the client hears no 250, and nobody gets a second copy',
    async (t) => {
      const mail = letter(['bob@example.org', 'eve@example.net'])
      provider.play(async ({ phase }) => {
        if (phase === 'answer') await trouble.kill('keyserver')
        return undefined
      })
      const torn = await attempt(first, mail)
      t.match(torn, { code: 451 })
      provider.play(null)
      await trouble.start('keyserver')
      const attempts = await retry(mail, { ports: [trouble.second, first], within: 90_000 })
      t.match(attempts.at(-1), { code: 250 })
      for (const to of mail.to) t.equal(trouble.copies(mail, to).length, 1, to)
      t.same(await trouble.leaks(mail), [])
    },
  )

  await t.test('whoever opens while it is down hears that it is unreachable, and has used up nothing', async (t) => {
    const mail = letter(['bob@example.org'])
    t.match((await retry(mail, { ports: [first] })).at(-1), { code: 250 })
    const [copy] = trouble.copies(mail, 'bob@example.org')
    const octets = copy?.octets ?? Buffer.alloc(0)
    const id = envelopeIn(octets)
    const sealed = sealedCopyIn(octets)
    const proven = await trouble.prove(id, 'bob@example.org')
    const typing = await createRecipient({ origin: house.origin, fetch })
    const before = provider.kept.length
    const { tries } = await typing.askCode(id, 'bob@example.org')
    const code = await codeFor(provider, before, 'bob@example.org')
    await trouble.kill('keyserver')
    const unreachable = (error: unknown) => error instanceof Refused && error.code === 'unreachable'
    t.ok(unreachable(await proven.ticket(id).catch((error: unknown) => error)))
    for (let i = 0; i < tries + 1; i++) {
      const said = await typing.answer(code).catch((error: unknown) => error)
      t.ok(unreachable(said), 'an answer that nobody heard')
    }
    t.ok(unreachable(await proven.release(sealed).catch((error: unknown) => error)))
    await trouble.start('keyserver')
    await typing.answer(code)
    const wanted = (opened: { readonly message: Uint8Array }) => Buffer.from(opened.message).equals(mail.octets)
    t.ok(wanted(await typing.open(id, sealed)), 'the code was still good')
    t.ok(wanted(await proven.open(id, sealed)), 'the session too')
  })

  await trouble.stop('keyserver')
  t.equal(await trouble.verify(), '', 'after all of it the log verifies')
})

function issues(file: string) {
  const database = new Database(file, { readonly: true })
  const count = database.prepare<[], number>('select count(*) from envelope').pluck()
  const unconfirmed = database.prepare<[], number>('select count(*) from envelope where confirmed_at is null').pluck()
  return {
    count: () => count.get() ?? 0,
    unconfirmed: () => unconfirmed.get() ?? 0,
    close: () => void database.close(),
  }
}
