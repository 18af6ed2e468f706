import { randomInt } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createComposer, type PassParts, type SealedParts } from '../../gateway/compose.ts'
import type { OutgoingMail } from '../../gateway/courier.ts'
import { createEgress, EgressViolation } from '../../gateway/egress.ts'
import { answerTo } from '../../gateway/error.ts'
import { loadNoticeTemplates } from '../../gateway/notice-template.ts'
import type { Address } from '../../protocol/identifiers.ts'
import { type NoticeChoice, noticeLanguages } from '../../rulebook/index.ts'
import { readCorpus } from './corpus.ts'
import { copyOf, fieldsIn, octetsOf, partsOf } from './sealed-mail.ts'

const templates = await loadNoticeTemplates()
const composer = createComposer(templates)
const alarms: EgressViolation[] = []
const egress = createEgress({ templates, alarm: (violation) => alarms.push(violation) })

const message =
  'Received: from a by b; Sun, 22 Nov 2026 14:00:00 +0000\r\nFrom: Anna <anna@acme.example>\r\nTo: bo@example.org\r\n' +
  'Subject: hello there\r\nX-Secret: kept inside only\r\n\r\nThe body of it.\r\n'

/** A mail of these octets, in chunks of `step`. */
function mailOf(octets: Uint8Array, step = octets.length): OutgoingMail {
  return {
    size: octets.length,
    smtputf8: false,
    eightBit: false,
    async *open() {
      for (let at = 0; at < octets.length; at += step) yield octets.subarray(at, at + step)
    },
  }
}

/** What gets past the look, and what stopped it. */
async function look(octets: Uint8Array, parts: SealedParts, step?: number) {
  const passed: Uint8Array[] = []
  try {
    for await (const chunk of egress.sealed(mailOf(octets, step), parts).open()) passed.push(chunk)
    return { passed: Buffer.concat(passed), check: null }
  } catch (error) {
    if (!(error instanceof EgressViolation)) throw error
    return { passed: Buffer.concat(passed), check: error.check }
  }
}

t.test('what the composer makes passes untouched, whatever the chunks', async (t) => {
  for (const size of [3, 57, 5000, 114_000]) {
    const parts = partsOf(message, { sealed: copyOf(size) })
    const octets = await octetsOf(composer.sealed(parts))
    for (const step of [1, 77, 78, 1000, octets.length]) {
      if (step === 1 && size > 5000) continue
      const { passed, check } = await look(octets, parts, step)
      t.equal(check, null, `${size} in chunks of ${step}`)
      t.ok(passed.equals(octets))
    }
  }
})

t.test('names that need quoting, coding or escaping pass as well', async (t) => {
  const utf8 = Buffer.from(
    'From: Jörg <anna@acme.example>\r\nTo: Ю <юзер@bücher.example>, "A & B" <o\'x@example.org>\r\nSubject: Grüße, und noch viel mehr Grüße als in ein Wort passen; wirklich sehr viele\r\n\r\n',
  )
  const parts = partsOf(utf8, {
    organization: 'Société <Générale> & Söhne',
    recipients: ['юзер@xn--bcher-kva.example' as Address, "o'x@example.org" as Address],
  })
  const { check } = await look(await octetsOf(composer.sealed(parts)), parts)
  t.equal(check, null)
  for (const extra of [{ sealed: null }, { sender: null }, { subject: 'Geschützt' }, { recipients: [] }] as const) {
    const some = partsOf('To: bo@example.org\r\nSubject: x\r\n\r\n', extra)
    t.equal((await look(await octetsOf(composer.sealed(some)), some)).check, null)
  }
})

const own: NoticeChoice = {
  name: 'ours',
  languages: ['de'],
  own: {
    text: 'Grüße ({organization}) {sender}{expires}\n{link}{origin}\n{recipients}\n\n- {sender}\n{attachment}',
    html: '<p>{organization}{sender}{expires}</p><p>{recipients}</p>{sender}<a href="{link}">{link}</a> &uuml;{attachment}',
  },
}
const notices: readonly NoticeChoice[] = [
  ...noticeLanguages.map((language): NoticeChoice => ({ name: language, languages: [language], own: null })),
  { name: 'de, en', languages: ['de', 'en'], own: null },
  own,
]

t.test('addresses with any letter beyond ASCII pass', async (t) => {
  // In UTF-8 the second octet of à, Š and Р is A0, which Latin-1 calls a space.
  for (const letter of ['à', 'Š', 'Р', 'ü', '栠']) {
    const header = `From: <${letter}@acme.example>\r\nTo: ${letter} <bo${letter}b@example.org>, c@example.org\r\n\r\n`
    const parts = partsOf(header, { recipients: [`bo${letter}b@example.org` as Address] })
    t.equal((await look(await octetsOf(composer.sealed(parts)), parts)).check, null, letter)
    const made = partsOf('Subject: x\r\n\r\n', { sender: `${letter}@acme.example` as Address })
    t.equal(
      (await look(await octetsOf(composer.sealed(made)), made)).check,
      null,
      `${letter} in a From that was missing`,
    )
  }
})

t.test('a domain that gets too long in ASCII stops no mail', async (t) => {
  const parts = partsOf(`From: anna@acme.example\r\nCc: a@${'d'.repeat(260)}é.example, c@example.org\r\n\r\n`)
  const octets = await octetsOf(composer.sealed(parts))
  t.equal((await look(octets, parts)).check, null)
  t.match(octets.toString('latin1'), /^Cc: c@example\.org\r$/m)
})

t.test('every language and an own notice pass, on every day of the year and for every time to live', async (t) => {
  const names = [
    'Acme (Holding) & "Söhne" <x>',
    'A',
    'Acme'.repeat(25),
    `${'é'.repeat(99)} 🙂🙂`,
    ' a\tb\u0000c ',
    '- bo@example.org',
  ]
  const recipients = Array.from({ length: 30 }, (_, i) => `p${i}@example.org` as Address)
  for (const notice of notices) {
    for (let day = 0; day < 366; day += 5) {
      const now = new Date(Date.UTC(2027, 0, 1 + day, day % 24, day % 60))
      const minutes = [1, 2, 119, 120, 150, 2879, 2880, 129_600][day % 8] ?? 1
      const expiresAt = new Date(now.getTime() + minutes * 60_000).toISOString()
      const to = day % 2 === 0 ? recipients.join(', ') : ''
      const parts = partsOf(`To: ${to}\r\nFrom: anna@acme.example\r\n\r\n`, {
        ...{ notice, now, expiresAt, organization: names[day % names.length] ?? 'A' },
        recipients: day % 4 === 0 ? recipients : ['p1@example.org' as Address, 'anna@acme.example' as Address],
        sealed: day % 3 === 0 ? null : copyOf(30),
        ...(day % 7 === 0 ? { sender: null } : {}),
      })
      const { check } = await look(await octetsOf(composer.sealed(parts)), parts)
      if (check !== null) t.fail(`${notice.name}, ${expiresAt}, ${parts.organization}: ${check}`)
    }
  }
  t.pass(`${notices.length} notices`)
})

t.test('a notice in another language than policy says, or with other values, is stopped', async (t) => {
  for (const notice of notices) {
    const parts = partsOf(message, { notice })
    const mail = async (extra: Partial<SealedParts>) => await octetsOf(composer.sealed({ ...parts, ...extra }))
    const other = notices.find(({ name }) => name !== notice.name)
    const wrong: [string, Buffer][] = [
      ['another notice', await mail(other === undefined ? {} : { notice: other })],
      ['another expiry', await mail({ expiresAt: '2026-12-23T14:05:00.000Z' })],
      ['another sender', await mail({ sender: 'eve@acme.example' as Address })],
      ['another organization', await mail({ organization: 'Acme Bank' })],
      ['another link', await mail({ link: parts.link.replace('mail.', 'evil.') })],
      [
        'another opener',
        await mail({ recipients: ['eve@example.org' as Address], fields: fieldsIn('To: eve@example.org\r\n\r\n') }),
      ],
      ['as if by link', await mail({ sealed: null })],
    ]
    for (const [what, octets] of wrong) t.type((await look(octets, parts)).check, 'string', `${notice.name}: ${what}`)
  }
})

t.test('any altered octet of a coded notice is stopped', async (t) => {
  const parts = partsOf(message, { notice: { name: 'fr', languages: ['fr'], own: null } })
  const octets = await octetsOf(composer.sealed(parts))
  const end = octets.indexOf('application/vnd.sealpost')
  for (let place = octets.indexOf('\r\n\r\n'); place < end; place += 3) {
    const altered = Buffer.from(octets)
    altered[place] = (altered[place] ?? 0) ^ (1 << randomInt(8))
    const { passed } = await look(altered, parts)
    if (passed.length > 0)
      t.fail(`octet ${place}: ${JSON.stringify(altered.toString('latin1', place - 20, place + 20))}`)
  }
  t.pass('none left')
})

t.test('any altered octet is stopped, and none at or behind it leaves', async (t) => {
  const parts = partsOf(message)
  const octets = await octetsOf(composer.sealed(parts))
  const places = Array.from({ length: 1500 }, () => randomInt(octets.length))
  for (const place of places) {
    const altered = Buffer.from(octets)
    altered[place] = (altered[place] ?? 0) ^ (1 << randomInt(8))
    const { passed, check } = await look(altered, parts, 512)
    if (check === null || passed.length > place)
      t.fail(`octet ${place}: ${JSON.stringify(altered.toString('latin1', place - 20, place + 20))}`)
  }
  t.pass(`${places.length} altered mails`)
})

t.test('what was added anywhere is stopped', async (t) => {
  const parts = partsOf(message)
  const octets = (await octetsOf(composer.sealed(parts))).toString('latin1')
  const additions: [string, string, string][] = [
    ['a field of the message that stays inside', 'MIME-Version', 'X-Secret: kept inside only\r\nMIME-Version'],
    ['a kept field with other words', 'Subject: hello there', 'Subject: The body of it.'],
    ['a second Content-Type', 'MIME-Version', 'Content-Type: text/plain\r\nMIME-Version'],
    ['a made-up field', 'MIME-Version', 'X-New: 1\r\nMIME-Version'],
    ['a blind recipient', 'MIME-Version', 'Bcc: eve@example.org\r\nMIME-Version'],
    ['text in the notice', 'Open it in your browser:\r\n', 'Open it in your browser:\r\nThe body of it.\r\n'],
    ['another link', 'href="https://mail.acme.example/', 'href="https://evil.example/'],
    ['an opener who is no recipient', '- bo@example.org', '- eve@example.org'],
    ['text before the first part', '\r\n\r\n--=_sealpost-m', '\r\n\r\nThe body of it.\r\n--=_sealpost-m'],
    [
      'text behind the last part',
      '--=_sealpost-m-dGhpcyBpcyBhIHRlc3QhIQ--\r\n',
      '--=_sealpost-m-dGhpcyBpcyBhIHRlc3QhIQ--\r\nThe body of it.\r\n',
    ],
    [
      'another part',
      '\r\n--=_sealpost-m-dGhpcyBpcyBhIHRlc3QhIQ--',
      '\r\n--=_sealpost-m-dGhpcyBpcyBhIHRlc3QhIQ\r\n\r\nx\r\n--=_sealpost-m-dGhpcyBpcyBhIHRlc3QhIQ--',
    ],
  ]
  for (const [what, from, to] of additions) {
    const altered = octets.replace(from, () => to)
    t.not(altered, octets, `${what}: was added`)
    const { passed, check } = await look(Buffer.from(altered, 'latin1'), parts)
    t.type(check, 'string', what)
    t.notOk(
      passed.includes('The body of it.') || passed.includes('evil') || passed.includes('eve@'),
      `${what}: did not leave`,
    )
  }
})

t.test('a mail that is cut off is stopped', async (t) => {
  const parts = partsOf(message)
  const octets = await octetsOf(composer.sealed(parts))
  for (const length of [0, 10, 500, octets.length - 100, octets.length - 1]) {
    t.type((await look(octets.subarray(0, length), parts)).check, 'string', `${length} octets`)
  }
})

t.test('another sealed copy, or clear text in base64, is stopped', async (t) => {
  const parts = partsOf(message)
  const octets = await octetsOf(composer.sealed({ ...parts, sealed: copyOf(4000) }))
  t.equal((await look(octets, parts)).check, 'the attachment is not the sealed copy')
  const clear = Buffer.from('The body of it. '.repeat(250))
  const sealed = {
    ...copyOf(4000),
    bytes: clear,
    chunks: async function* () {
      yield clear
    },
  }
  const both = { ...parts, sealed }
  t.equal((await look(await octetsOf(composer.sealed(both)), both)).check, 'the attachment is no envelope')
})

t.test('a violation is an alarm with an incident, and a refusal for good', async (t) => {
  alarms.length = 0
  const parts = partsOf(message)
  await look(Buffer.from('Subject: x\r\n\r\nclear'), parts)
  t.equal(alarms.length, 1)
  t.match(alarms[0]?.incident, /^[\w-]{16}$/)
  t.match(answerTo(alarms[0], 'i'), { code: 554, status: '5.6.0' })
  t.notMatch(alarms[0]?.message, /clear/)
})

function passOf(header: string, body: string, extra: Partial<PassParts> = {}): PassParts {
  return {
    received: 'from a by b',
    handled: 'v=1',
    fields: fieldsIn(`${header}\r\n`),
    async *body() {
      yield Buffer.from(body, 'latin1')
    },
    bodySize: body.length,
    eightBit: false,
    smtpUtf8: false,
    ...extra,
  }
}

t.test('a passed mail goes on as it is', async (t) => {
  for (const [header, body] of [
    ['Subject: x\r\n', '\r\nbody\r\n\r\nmore\r\n'],
    ['Subject: x\r\n', ''],
    ['', '\r\nbody'],
  ] as const) {
    const parts = passOf(header, body)
    const mail = composer.passed(parts)
    t.ok((await octetsOf(egress.passed(mail, parts))).equals(await octetsOf(mail)))
  }
})

t.test('a passed mail with a field that must reach no recipient is stopped', async (t) => {
  const parts = passOf('Subject: x\r\n', '\r\nbody')
  const mail = composer.passed(parts)
  const clear = (await octetsOf(mail)).toString('latin1')
  for (const field of [
    'Bcc: eve@example.org',
    'bcc : a@b.c',
    'Sealpost-Tenant: s',
    'X-Sealpost-Tenant: s',
    'X-MS-Exchange-Organization-A: 1',
    'Resent-Bcc: a',
  ]) {
    const altered = mailOf(
      Buffer.from(
        clear.replace('Subject', () => `${field}\r\nSubject`),
        'latin1',
      ),
      9,
    )
    await t.rejects(octetsOf(egress.passed(altered, parts)), { code: 'egress' }, field)
  }
  await t.rejects(octetsOf(egress.passed({ ...mail, size: mail.size + 1 }, parts)), { code: 'egress' }, 'cut')
})

const corpus = readCorpus() ?? []
const absent = corpus.length === 0 ? '../shared/corpus is absent: skipped' : false

t.test('every message of the corpus passes the look when composed', { skip: absent }, async (t) => {
  for (const { name, octets } of corpus) {
    const parts = partsOf(octets)
    const { check } = await look(await octetsOf(composer.sealed(parts)), parts)
    if (check !== null) t.fail(`${name}: ${check}`)
  }
  t.pass(`${corpus.length} messages`)
})

t.test('a quoted pair in the middle of a word that must be coded passes', async (t) => {
  for (const from of ['"Jo\\hann Jörg" <bo@example.org>', 'bo@example.org (Jo\\hann Jörg)']) {
    const parts = partsOf(Buffer.from(`From: ${from}\r\n\r\n`))
    const octets = await octetsOf(composer.sealed(parts))
    t.match(octets.toString(), Buffer.from('Johann Jörg').toString('base64'))
    t.equal((await look(octets, parts)).check, null)
  }
})

t.test('whatever a header holds, what is composed is safe and passes the look', async (t) => {
  const names = ['From', 'To', 'Cc', 'Subject', 'References', 'List-Id', 'Received', 'msip_labels', 'X-Other', 'Bcc']
  const pieces = [
    'a',
    'Zoë',
    'é\xff',
    '\0',
    '\x1b',
    '<',
    '>',
    '"',
    '\\',
    '(',
    ')',
    ',',
    ';',
    ':',
    '@',
    '.',
    'bo@example.org',
    '?',
  ]
  pieces.push(
    'bücher.example',
    'юзер',
    '=?utf-8?B?w6k=?=',
    '=?x?Q?=41?=',
    ' ',
    '\t',
    '\r\n ',
    'x'.repeat(950),
    '\u202e',
    'Ⅷ。',
  )
  const value = fc.array(fc.constantFrom(...pieces), { maxLength: 12 }).map((words) => words.join(''))
  const field = fc.tuple(fc.constantFrom(...names), value).map(([name, text]) => `${name}: ${text}\r\n`)
  const encoding = fc.constantFrom<BufferEncoding>('utf8', 'latin1')
  await fc.assert(
    fc.asyncProperty(fc.array(field, { maxLength: 6 }), encoding, async (fields, charset) => {
      const parts = partsOf(Buffer.from(`${fields.join('')}\r\n`, charset), { sealed: copyOf(10) })
      const mail = composer.sealed(parts)
      const octets = await octetsOf(mail)
      const { check } = await look(octets, parts)
      if (check !== null) throw new Error(check)
      const lines = octets.toString('utf8').split('\r\n')
      if (lines.some((line) => Buffer.byteLength(line) > 998 || /(?!\t)[\p{Cc}--[\x80-\x9f]]/v.test(line)))
        throw new Error('a line')
      if (!mail.smtputf8 && /[^\r\n\t\x20-\x7e]/.test(octets.toString('latin1'))) throw new Error('not 7-bit')
      if (octets.length !== mail.size) throw new Error('size')
    }),
    { numRuns: 1500 },
  )
  t.pass('1,500 headers')
})
