import { readdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { composeCodeMail } from '../../keyserver/code-mail.ts'
import { parseAddress, parseOrgId } from '../../protocol/identifiers.ts'
import { addRule, openOffice } from './office.ts'

const secret = 'the words that only the recipient may read'
let count = 0
function letter(options: { to?: string; subject?: string; extra?: string; body?: string; id?: string } = {}) {
  count += 1
  const {
    to = 'kunde@example.org',
    subject = 'Offer',
    extra = '',
    body = secret,
    id = `<m${count}@acme.example>`,
  } = options
  return `From: Anna <anna@acme.example>\nTo: ${to}\nSubject: ${subject}\nMessage-ID: ${id}\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n${extra}\n${body}\n`
}
const idOf = (reply: string) => /envelope ([\w-]{22})/.exec(reply)?.[1] ?? 'none'

const shared = await openOffice(t)
/** The office that most tests share, as it was when it was opened. */
function steady() {
  shared.mails.length = 0
  shared.refuse = () => null
  return shared
}

t.test('mail to outside leaves sealed, and the reply names envelope and provider', async (t) => {
  const office = steady()
  const reply = await office.send(
    'anna@acme.example',
    ['kunde@example.org'],
    letter({ extra: 'Bcc: boss@acme.example\n' }),
  )
  t.match(reply, /^250 2\.0\.0 envelope [\w-]{22}; next hop: 250 2\.0\.0 queued as \d+$/)
  const [mail] = office.mails
  t.equal(mail?.from, 'anna@acme.example')
  t.strictSame(mail?.to, ['kunde@example.org'])
  t.notMatch(mail?.text, /words that only|boss@/)
  t.match(mail?.text, /^Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n\tby gw1\.acme\.example with ESMTP/)
  t.match(mail?.text, `http://localhost:8443/m/${idOf(reply)}`)
  const parsed = await simpleParser(mail?.text ?? '')
  t.strictSame(
    parsed.attachments.map(({ filename }) => filename),
    ['protected-message.sealpost'],
  )
  t.notMatch(office.log(), /anna@|kunde@|Offer|words/, 'the log tells nothing of the mail')
})

t.test('mail that a rule passes goes on octet for octet, but for what must reach nobody', async (t) => {
  const office = steady()
  const text = letter({
    to: 'bert@acme.example',
    extra: 'Bcc: x@example.org\nX-MS-Exchange-Organization-SCL: 1\nSealpost-TTL: 7d\nX-Other: kept\n',
    body: '.dot\nbody',
  })
  t.match(await office.send('anna@acme.example', ['bert@acme.example'], text), /^250 /)
  const kept = text.replace(/^(Bcc|X-MS|Sealpost).*\n/gm, '').replace(/\n/g, '\r\n')
  const sent = office.mails[0]?.text ?? ''
  t.ok(sent.endsWith(kept), sent)
  t.match(
    sent.slice(0, sent.length - kept.length),
    /^Received: (?:[^\r]|\r\n\t)*\r\nSealpost-Handled: v=1; [^\r]*\r\n$/,
  )
})

t.test('recipients inside get it in the clear, those outside sealed, each once', async (t) => {
  const office = steady()
  t.match(
    await office.send('anna@acme.example', ['bert@acme.example', 'a@example.org', 'b@example.net'], letter()),
    /^250 .* and 1 more; /,
  )
  t.strictSame(
    office.mails.map(({ to }) => to),
    [['bert@acme.example'], ['a@example.org', 'b@example.net']],
  )
  t.match(office.mails[0]?.text, secret)
  t.notMatch(office.mails[1]?.text, secret)
})

t.test('a recipient refused beside accepted ones is bounced before the 250', async (t) => {
  const office = steady()
  office.refuse = (recipient) => (recipient === 'gone@example.org' ? 550 : null)
  const text = letter()
  t.match(await office.send('anna@acme.example', ['a@example.org', 'gone@example.org', 'b@example.org'], text), /^250 /)
  const [mail, bounce] = office.mails
  t.strictSame(mail?.to, ['a@example.org', 'b@example.org'])
  t.strictSame([bounce?.from, bounce?.to], ['', ['anna@acme.example']])
  t.match(bounce?.text, /multipart\/report[\s\S]*Final-Recipient: rfc822;gone@example\.org/)
  t.notMatch(bounce?.text, secret)
  t.match(
    await office.send('anna@acme.example', ['a@example.org', 'gone@example.org', 'b@example.org'], text),
    /^250 .*earlier attempt/,
  )
  t.equal(office.mails.length, 2, 'a retry sends nothing again, not even the bounce')
})

t.test('a mail from <> is never bounced', async (t) => {
  const office = steady()
  office.refuse = (recipient) => (recipient === 'gone@example.org' ? 550 : null)
  t.match(await office.send('', ['a@example.org', 'gone@example.org'], letter()), /^250 /)
  t.equal(office.mails.length, 1)
})

t.test("where every recipient is refused, the provider's reply is the client's", async (t) => {
  const office = steady()
  office.refuse = () => 553
  t.match(
    await office.send('anna@acme.example', ['a@example.org', 'b@example.org'], letter()),
    /^553 5\.0\.0 as the test says \(incident [\w-]{22}\)$/,
  )
  t.equal(office.mails.length, 0)
})

t.test('a recipient put off gives 451, and the retry delivers only to that one, in the same envelope', async (t) => {
  const office = steady()
  office.refuse = (recipient) => (recipient === 'later@example.org' ? 451 : null)
  const text = letter()
  t.match(
    await office.send('anna@acme.example', ['a@example.org', 'later@example.org'], text),
    /^451 4\.0\.0 next hop: 451 as the test says/,
  )
  t.strictSame(
    office.mails.map(({ to }) => to),
    [['a@example.org']],
  )
  office.refuse = () => null
  const again = await office.send(
    'anna@acme.example',
    ['a@example.org', 'later@example.org'],
    `Received: another way\n${text}`,
  )
  t.match(again, /^250 /)
  t.strictSame(
    office.mails.map(({ to }) => to),
    [['a@example.org'], ['later@example.org']],
  )
  for (const mail of office.mails) t.match(mail.text, `/m/${idOf(again)}`)
})

t.test('a message that a rule refuses is refused whole, in the words of the rule', async (t) => {
  const office = steady()
  const reply = await office.send('anna@acme.example', ['a@example.org'], letter({ subject: 'Password: x' }))
  t.match(reply, /^550 5\.7\.1 The subject seems to hold a password.* \(incident [\w-]{22}\)$/)
  t.equal(office.mails.length, 0)
})

t.test('one recipient whom a rule refuses stops the message for all, and is named', async (t) => {
  const office = await openOffice(t)
  await addRule(
    office,
    "  - name: no-rivals\n    when: recipient.domain == 'rival.example'\n    then: refuse\n    because: Not to rivals.",
  )
  await until(async () => (await office.send('anna@acme.example', ['x@rival.example'], letter())).startsWith('550'))
  office.mails.length = 0
  const reply = await office.send('anna@acme.example', ['a@example.org', 'x@rival.example'], letter())
  t.match(reply, /^550 5\.7\.1 Not to rivals\. \(because of x@rival\.example\)/)
  t.equal(office.mails.length, 0)
})

t.test('a rule that only observes is told of by log and metrics, and decides nothing', async (t) => {
  const office = steady()
  const program = 'Content-Type: application/x-msdownload; name=setup.exe\n'
  const to = ['kunde@example.org', 'b@example.org']
  t.match(await office.send('anna@acme.example', to, letter({ extra: program })), /^250 /)
  t.equal(office.mails.length, 1, 'sealed by the next rule that matches')
  const lines = office
    .log()
    .split('\n')
    .filter((line) => line.includes('a rule only observed'))
  t.equal(lines.length, 1)
  t.match(JSON.parse(lines[0] ?? ''), { rule: 'no-programs', would: 'refuse', recipients: 2, org: 'acme.example' })
  const metrics = await (await fetch(`http://127.0.0.1:${office.opsPort}/metrics`)).text()
  t.match(metrics, 'sealpost_gateway_observed_total{org="acme.example",rule="no-programs"} 2\n')
})

t.test('what of a sealed mail stays outside is up to its rule', async (t) => {
  const office = await openOffice(t)
  const rule = (name: string, more: string) =>
    `  - name: ${name}\n    when: "'${name}' in message.tags"\n    then: seal\n    ${more}`
  await addRule(office, rule('hush', 'subject: Vertrauliche Nachricht von Büro & Söhne'))
  await addRule(office, rule('slim', 'carry: mail'))
  await addRule(office, rule('zweisprachig', 'notice: [de, en]'))
  await addRule(office, rule('thin', 'carry: link\n    ttl: 1h'))
  const send = (to: string[], subject: string) => office.send('anna@acme.example', to, letter({ subject }))
  await until(async () => {
    office.mails.length = 0
    const reply = await send(['a@example.org'], '[thin] Offer')
    return reply.startsWith('250') && !office.mails[0]?.text.includes('protected-message')
  })
  const copies = () => readdirSync(join(office.data, 'copies'), { recursive: true, encoding: 'utf8' })
  const kept = (reply: string) => {
    const small = new Database(join(office.data, 'copies', 'small.sqlite'), { readonly: true })
    const row = small.prepare('select 1 from copy where id = ?').get(Buffer.from(idOf(reply), 'base64url'))
    small.close()
    return row !== undefined || copies().some((path) => basename(path) === idOf(reply))
  }
  const attached = async () => (await simpleParser(office.mails.at(-1)?.text ?? '')).attachments.length

  await t.test('another subject, and no word of the real one anywhere', async (t) => {
    office.mails.length = 0
    office.refuse = (recipient) => (recipient === 'gone@example.org' ? 550 : null)
    const reply = await send(['a@example.org', 'gone@example.org'], '[hush] Merger with Umbrella')
    office.refuse = () => null
    t.match(reply, /^250/)
    const [sealed, bounce] = office.mails
    t.equal((await simpleParser(sealed?.text ?? '')).subject, 'Vertrauliche Nachricht von Büro & Söhne')
    t.notMatch(sealed?.text, /Merger|Umbrella|hush/)
    t.match(bounce?.text, /Final-Recipient: rfc822;gone@example\.org/)
    t.notMatch(bounce?.text, /Merger|Umbrella|hush/, 'nor does the bounce tell it')
  })
  await t.test('by mail only: attached, and kept nowhere', async (t) => {
    const reply = await send(['a@example.org'], '[slim] Offer')
    t.match(reply, /^250/)
    t.equal(await attached(), 1)
    t.notOk(kept(reply))
  })
  await t.test('by link only: kept, and not attached', async (t) => {
    const reply = await send(['a@example.org'], '[thin] Offer')
    t.match(reply, /^250/)
    t.equal(await attached(), 0)
    t.ok(kept(reply))
  })
  await t.test('the notice in the languages of the rule', async (t) => {
    await send(['a@example.org'], '[zweisprachig] Offer')
    const { text, headers } = await simpleParser(office.mails.at(-1)?.text ?? '')
    t.match(text, /hat Ihnen eine geschützte Nachricht gesendet[\s\S]*sent you a protected message/)
    t.equal(headers.get('content-language'), 'de, en')
  })
  await t.test('by both where no rule says otherwise', async (t) => {
    const reply = await send(['a@example.org'], 'Offer')
    t.equal(await attached(), 1)
    t.ok(kept(reply))
  })
})

t.test('rules see who handed a mail in, and groups of the file', async (t) => {
  const office = await openOffice(t)
  const policy = await readFile(office.policyFile, 'utf8')
  await writeFile(office.policyFile, policy.replace('\nttl:', '\ngroups: { rivals: [rival.example] }\nttl:'))
  const when = "client.ip == '127.0.0.1' && !client.tls && client.identity == '' && 'rivals' in recipient.groups"
  await addRule(office, `  - name: no-rivals\n    when: "${when}"\n    then: refuse\n    because: Not to rivals.`)
  await until(async () => (await office.send('anna@acme.example', ['x@rival.example'], letter())).startsWith('550'))
  t.match(await office.send('anna@acme.example', ['x@elsewhere.example'], letter()), /^250/)
})

t.test('a policy that changed is asked for at once, and the verdict taken again', async (t) => {
  const office = await openOffice(t)
  t.match(await office.send('anna@acme.example', ['a@fresh.example'], letter()), /^250/)
  await addRule(
    office,
    "  - name: nothing-leaves\n    when: recipient.domain == 'fresh.example'\n    then: refuse\n    because: Nothing leaves today.",
  )
  await until(async () =>
    (await office.send('anna@acme.example', ['a@fresh.example'], letter())).includes('Nothing leaves today.'),
  )
})

t.test('without the key server nothing leaves, and afterwards the same mail does', async (t) => {
  const office = await openOffice(t)
  const text = letter()
  await office.stopKeyServer()
  t.match(await office.send('anna@acme.example', ['a@example.org'], text), /^451 4\.3\.0 .*incident/)
  t.match(
    await office.send('anna@acme.example', ['bert@acme.example'], text),
    /^451 4\.3\.0 /,
    'not even what a rule passes',
  )
  t.equal(office.mails.length, 0)
  const ready = await fetch(`http://127.0.0.1:${office.opsPort}/health/ready`)
  t.equal(ready.status, 503)
  t.match(await ready.json(), { reasons: ['the key server does not answer'] })
  await office.startKeyServer()
  await until(async () => (await office.send('anna@acme.example', ['a@example.org'], text)).startsWith('250 '))
  t.equal(office.mails.length, 1)
})

t.test('without the provider the client tries again, and nothing is lost or doubled', async (t) => {
  const office = await openOffice(t)
  await office.stopProvider()
  t.match(await office.send('anna@acme.example', ['a@example.org'], letter()), /^451 4\./)
})

t.test('a provider that answers the content late: 250 within the budget, and one mail', async (t) => {
  const office = await openOffice(t, { budgetSeconds: 2 })
  office.delayMs = 4000
  const text = letter()
  const started = performance.now()
  const reply = await office.send('anna@acme.example', ['a@example.org'], text)
  t.match(reply, /^250 2\.0\.0 envelope [\w-]{22}; kept here, delivery goes on$/)
  t.ok(performance.now() - started < 3900)
  t.match(await office.send('anna@acme.example', ['a@example.org'], text), /^250 .*kept here/, 'a retry finds it there')
  office.delayMs = 0
  await until(async () => office.mails.length > 0)
  await until(async () =>
    (await office.send('anna@acme.example', ['a@example.org'], text)).includes('an earlier attempt'),
  )
  t.equal(office.mails.length, 1, 'nobody gets a second')
})

t.test('system mail is passed only if its stamp covers it', async (t) => {
  const office = steady()
  const org = parseOrgId('acme.example')
  const to = parseAddress('kunde@example.org')
  if (org === null || to === null) throw new Error('these are what they are')
  const { signer } = office.keyServer().parts.keyring
  const mail = composeCodeMail(
    { org, from: 'no-reply@acme.example', to, sender: null, code: '12345678', now: Date.now() },
    signer,
  )
  const extra = Object.entries(mail.headers)
    .map(([name, value]) => `${name}: ${value}\n`)
    .join('')
  const text = `From: ${mail.from}\nTo: ${mail.to}\nSubject: ${mail.subject}\nMessage-ID: ${mail.messageId}\nX-Smuggled: words\n${extra}Content-Type: text/plain; charset=utf-8\n\n${mail.text}`
  t.match(await office.send('no-reply@acme.example', [to], text), /^250/)
  t.match(office.mails[0]?.text, '12345678')
  t.notMatch(office.mails[0]?.text, /Sealpost-System|X-Smuggled/)
  t.match(
    await office.send(
      'no-reply@acme.example',
      [to],
      text.replace('12345678', 'stolen words').replace(/Auto-Submitted.*\n/, ''),
    ),
    /^250/,
  )
  t.notMatch(office.mails[1]?.text, 'stolen words', 'altered, it is mail like any other')
  t.match(
    await office.send('no-reply@acme.example', ['other@example.org'], text.replace(/Auto-Submitted.*\n/, '')),
    /^250/,
  )
  t.notMatch(office.mails[2]?.text, '12345678', 'and so it is to anybody else')
})

t.test('a sealed mail that comes back goes on around its envelope, and nothing rides along', async (t) => {
  const office = steady()
  await office.send('anna@acme.example', ['kunde@example.org'], letter())
  const sealed = office.mails[0]?.text ?? ''
  const riding = sealed
    .replace('Open it in your browser', 'clear words riding along')
    .replace('MIME-Version', 'X-Riding: along\r\nMIME-Version')
  t.match(await office.send('anna@acme.example', ['member@example.net'], riding), /^250/)
  const attached = async (text = '') => (await simpleParser(text)).attachments[0]?.content.toString('base64')
  t.equal(await attached(office.mails[1]?.text), await attached(sealed), 'the envelope is the same one')
  t.notMatch(office.mails[1]?.text, /clear words riding|X-Riding/)
  t.equal(office.mails[1]?.text.match(/^Sealpost-Handled:/gm)?.length, 1)
})

t.test('a stamp copied onto clear mail does nothing', async (t) => {
  const office = steady()
  await office.send('anna@acme.example', ['kunde@example.org'], letter())
  const stamp = /^Sealpost-Handled: .*$/m.exec(office.mails[0]?.text ?? '')?.[0].trim()
  t.match(stamp, /; s=/)
  await office.send('anna@acme.example', ['kunde@example.org', 'b@example.org'], letter({ extra: `${stamp}\n` }))
  t.notMatch(office.mails[1]?.text, secret)
  t.not(/^Sealpost-Handled: .*$/m.exec(office.mails[1]?.text ?? '')?.[0].trim(), stamp)
  t.match(
    await office.send('anna@acme.example', ['kunde@example.org'], letter({ extra: `${stamp}\n` })),
    /^554 5\.4\.6 /,
    'to those alone who have the envelope of that stamp it does not go out either',
  )
  t.equal(office.mails.length, 2)
})

t.test(
  'what a provider sends back that should have sent it on is refused, and the reply says what is missing',
  async (t) => {
    const office = await openOffice(t)
    const answers: string[] = []
    office.pass = async ({ from, to, text }) => {
      // A next hop that refuses is one that the provider tells the sender of.
      if (from !== '') answers.push(await office.send(from, to, text))
    }
    await addRule(office, "  - {name: by-link, when: message.subject == 'by link', then: seal, carry: link}")
    const acme = parseOrgId('acme.example')
    if (acme === null) throw new Error('it is one')
    await until(async () => office.keyServer().parts.policies.active(acme)?.text.includes('by-link') === true)
    const send = async (to: readonly string[], text: string) => {
      answers.length = 0
      const before = office.mails.length
      t.match(await office.send('anna@acme.example', to, text), /^250 /, 'the provider took it')
      t.equal(office.mails.length, before + 1, 'it does not go round')
      const id = /Sealpost-Handled: .*id=([\w-]{22})/.exec(office.mails[before]?.text ?? '')?.[1] ?? 'none'
      await until(async () => answers.length === 1)
      t.match(answers[0], /^554 5\.4\.6 .*Microsoft 365: .*Google: .*\(incident [\w-]{22}\)$/)
      t.ok((answers[0] ?? '').length <= 510, 'in one reply line')
      t.notMatch(answers[0], /kunde|anna|s=/)
      return id
    }
    await t.test('sealed, with its envelope', () => send(['kunde@example.org', 'b@example.org'], letter()))
    await t.test('sealed, by link only', () => send(['kunde@example.org'], letter({ subject: 'by link' })))
    await t.test('passed on by a rule', () => send(['bert@acme.example'], letter({ to: 'bert@acme.example' })))
    await t.test('what came back lies in no log, and is counted', async (t) => {
      t.notMatch(office.log(), /kunde@|words that only/)
      const metrics = await (await fetch(`http://127.0.0.1:${office.opsPort}/metrics`)).text()
      t.match(metrics, 'sealpost_gateway_refused_total{reason="came-back"} 3')
    })
    await t.test('a client that sends its own mail again is not concerned', async (t) => {
      const text = letter()
      await send(['kunde@example.org'], text)
      t.match(await office.send('anna@acme.example', ['kunde@example.org'], text), /^250 .*earlier attempt/)
    })
  },
)

t.test('mail that goes in a circle in another way is never taken for a retry of itself: it ends in 554', async (t) => {
  const office = await openOffice(t, { received: 6 })
  const answers: string[] = []
  let strip = /^$/
  office.pass = async ({ from, to, text }) => {
    if (from !== '') answers.push(await office.send(from, to, text.replace(strip, '')))
  }
  const ends = async (to: string, text: string) => {
    answers.length = 0
    t.match(await office.send('anna@acme.example', [to], text), /^250 .*next hop/)
    await until(async () => answers.some((answer) => !answer.startsWith('250')))
    t.match(
      answers.find((answer) => !answer.startsWith('250')),
      /^554 5\.4\.6 too many Received/,
    )
    for (const answer of answers) t.match(answer, /^(?:250 .*next hop|554 )/, 'each of the others went on')
  }
  await t.test('the provider removes the stamp, and sends it back all the same', async () => {
    strip = /^Sealpost-Handled: .*\r\n/m
    await ends('bert@acme.example', letter({ to: 'bert@acme.example' }))
  })
  await t.test("a list's copy of a sealed mail, which the provider sends back", async (t) => {
    strip = /^$/
    answers.length = 0
    await office.send('anna@acme.example', ['list@example.org'], letter())
    await until(async () => answers.some((answer) => answer.startsWith('554')))
    const sealed = office.mails.at(-1)?.text ?? ''
    t.match(sealed, 'protected-message')
    await ends('member@example.net', sealed)
  })
})

t.test('mail that cannot be read as MIME is sealed as it is', async (t) => {
  const office = steady()
  const text = `From: anna@acme.example\nno field\nContent-Type: multipart/mixed\n\n${secret}\n`
  t.match(await office.send('anna@acme.example', ['kunde@example.org'], text), /^250/)
  t.notMatch(office.mails[0]?.text, secret)
})

t.test('many clients at once each get their own envelope', async (t) => {
  const office = await openOffice(t)
  const replies = await Promise.all(
    Array.from({ length: 40 }, (_, n) => office.send('anna@acme.example', [`k${n}@example.org`], letter())),
  )
  t.ok(replies.every((reply) => reply.startsWith('250 ')))
  t.equal(new Set(replies.map(idOf)).size, 40)
  const metrics = await (await fetch(`http://127.0.0.1:${office.opsPort}/metrics`)).text()
  t.match(metrics, 'sealpost_gateway_accepted_total 40')
  t.match(metrics, 'sealpost_gateway_recipients_total{outcome="sent"} 40')
  t.match(metrics, 'sealpost_gateway_in_flight 0')
})

async function until(done: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (await done()) return
    await sleep(50)
  }
  throw new Error('it did not come to pass')
}
