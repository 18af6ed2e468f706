import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { base64Lines, base64Size, base64Stream } from '../../gateway/base64-lines.ts'
import { createComposer, type SealedParts } from '../../gateway/compose.ts'
import { reachesNoRecipient } from '../../gateway/header.ts'
import { headerTable, renderTable } from '../../gateway/header-table.ts'
import { loadNoticeTemplates } from '../../gateway/notice-template.ts'
import type { Address } from '../../protocol/identifiers.ts'
import { readCorpus } from './corpus.ts'
import { copyOf, fieldsIn, octetsOf, partsOf } from './sealed-mail.ts'

const composer = createComposer(await loadNoticeTemplates())
const compose = (message: string | Uint8Array, extra: Partial<SealedParts> = {}) =>
  octetsOf(composer.sealed(partsOf(message, extra)))
const headerOf = (mail: Buffer) => mail.toString('utf8', 0, mail.indexOf('\r\n\r\n') + 2)
const unfolded = (mail: Buffer) => headerOf(mail).replace(/\r\n(?=[ \t])/g, '')

t.test('the table in docs/format.md is the table in the code', async (t) => {
  const page = readFileSync(new URL('../../docs/format.md', import.meta.url), 'utf8')
  t.ok(page.includes(renderTable()), 'renderTable() of gateway/header-table.ts gives what the page must hold')
})

t.test('what must reach no recipient is the same set for sealing and for the table', async (t) => {
  for (const { name, place } of headerTable) {
    const key = name.toLowerCase().replace('*', 'anything')
    t.equal(reachesNoRecipient(key), place === 'nowhere', name)
  }
})

t.test('a kept field goes out as its own octets', async (t) => {
  const folded = 'To: "B, O" <bo@example.org>,\r\n\t cy@example.net\r\n'
  const mail = await compose(`${folded}Subject: =?utf-8?Q?caf=C3=A9?=\r\nList-Id: <l.acme.example>\r\n\r\nsecret`)
  t.ok(headerOf(mail).includes(folded))
  t.ok(headerOf(mail).includes('Subject: =?utf-8?Q?caf=C3=A9?=\r\n'))
  t.ok(headerOf(mail).includes('List-Id: <l.acme.example>\r\n'))
})

t.test('what is not in the table stays inside', async (t) => {
  const mail = await compose(
    'Bcc: hidden@example.org\r\nX-Secret: one\r\nThread-Topic: two\r\nDKIM-Signature: three\r\nComments: four\r\n' +
      'Content-Description: five\r\nSealpost-Tenant: six\r\nX-MS-Exchange-Organization-A: seven\r\nno field at all\r\n\r\n',
  )
  t.notMatch(headerOf(mail), /hidden|one\r|two|three|four|five|six|seven|no field/)
})

t.test('Exchange fields go out towards Microsoft only, and internal ones nowhere', async (t) => {
  const message = 'X-MS-Exchange-Foo: alpha\r\nX-LD-Processed: bravo\r\nX-MS-Exchange-Organization-Bar: charlie\r\n\r\n'
  t.notMatch(headerOf(await compose(message)), /alpha|bravo|charlie/)
  const there = headerOf(await compose(message, { towardsMicrosoft: true }))
  t.match(there, /alpha/)
  t.match(there, /bravo/)
  t.notMatch(there, /charlie/)
})

t.test('From, Date and Message-ID are made where they are missing, the same at every attempt', async (t) => {
  const mail = unfolded(await compose('Subject: x\r\n\r\n'))
  t.match(mail, /^From: anna@acme\.example\r$/m)
  t.match(mail, /^Date: Sun, 22 Nov 2026 14:05:00 \+0000\r$/m)
  t.match(mail, /^Message-ID: <[\w-]{22}@acme\.example>\r$/m)
  t.equal(mail, unfolded(await compose('Subject: x\r\n\r\n')))
  t.match(unfolded(await compose('\r\n', { sender: null })), /^From: MAILER-DAEMON@acme\.example\r$/m)
  for (const empty of ['From:', 'From: ', 'From: \t \r\n ']) {
    t.match(unfolded(await compose(`${empty}\r\n\r\n`)), /^From: anna@acme\.example\r$/m, 'an empty one is none')
  }
})

t.test('fields that may stand once are kept once', async (t) => {
  const mail = unfolded(
    await compose('From: a@acme.example\r\nFrom: b@evil.example\r\nSubject: 1\r\nsubject: 2\r\n\r\n'),
  )
  t.equal(mail.match(/^from:/gim)?.length, 1)
  t.equal(mail.match(/^subject:/gim)?.length, 1)
  t.match(mail, /a@acme/)
})

t.test('policy can put another subject in the place of the subject', async (t) => {
  const mail = unfolded(await compose('Subject: merger\r\n\r\n', { subject: 'Geschützte Nachricht' }))
  t.notMatch(mail, /merger/)
  t.match(mail, /^Subject: =\?utf-8\?B\?[\w+/=]+\?=\r$/m)
})

t.test('8-bit header text becomes encoded words, and what cannot be encoded is made safe', async (t) => {
  const utf8 = Buffer.from(
    'Subject: Grüße aus Köln\r\nFrom: Jörg <anna@acme.example>\r\nTo: bo@bücher.example\r\nMessage-ID: <ü@x.example>\r\n\r\n',
    'utf8',
  )
  const mail = await compose(utf8)
  t.notMatch(mail.toString('latin1'), /[\x80-\xff]/)
  const parsed = await simpleParser(mail)
  t.equal(parsed.subject, 'Grüße aus Köln')
  t.equal(parsed.from?.value[0]?.name, 'Jörg')
  t.match(unfolded(mail), /^To: bo@xn--bcher-kva\.example\r$/m)
  t.match(unfolded(mail), /^Message-ID: <\?+@x\.example>\r$/m)
})

t.test('an address that ASCII cannot carry is kept, and the mail asks for SMTPUTF8', async (t) => {
  const message = Buffer.from('From: anna@acme.example\r\nTo: Ю <юзер@example.org>\r\nSubject: ü\r\n\r\n', 'utf8')
  const mail = composer.sealed(partsOf(message, { recipients: ['юзер@example.org' as Address] }))
  t.equal(mail.smtputf8, true)
  const octets = await octetsOf(mail)
  t.match(headerOf(octets), /<юзер@example\.org>/)
  const parsed = await simpleParser(octets)
  t.match(parsed.text, /- юзер@example\.org/)
  t.equal(composer.sealed(partsOf('To: bo@example.org\r\n\r\n')).smtputf8, false)
})

t.test('nothing in a kept field can begin another field or end the header', async (t) => {
  const hostile = [
    'Subject: a\0b\r\n',
    'Subject: a\rBcc: x@evil.example\r\n',
    'Subject: a\nBcc: x@evil.example\r\n',
    'To: "a\r\n\r\nX: y" <bo@example.org>\r\n',
    'Subject: a\r\n \r\n\t\r\n b\r\n',
    'Subject: \x85\x0b\x0c\x1b[31m\r\n',
    'References:\r\n',
    `Subject: ${'x'.repeat(3000)}\r\n`,
    `References: ${'<a@b.example> '.repeat(500)}\r\n`,
    `References: <${'y'.repeat(2000)}@x.example>\r\n`,
    `To: ${'z'.repeat(1500)}@example.org\r\n`,
  ]
  for (const field of hostile) {
    const mail = await compose(`${field}Date: x\r\n\r\nbody`)
    const lines = headerOf(mail).split('\r\n').slice(0, -1)
    t.ok(
      lines.every((line) => line.length <= 998 && /^(?:[A-Za-z_-]+: ?|[ \t]+)[\t\x20-\x7e]*$/.test(line)),
      JSON.stringify(field.slice(0, 40)),
    )
    t.ok(lines.every((line) => line.trim() !== ''))
    t.notMatch(headerOf(mail), /^Bcc/m)
  }
})

t.test('long kept fields are folded, not cut', async (t) => {
  const ids = Array.from({ length: 200 }, (_, i) => `<${i}@example.org>`)
  const mail = await compose(`References: ${ids.join(' ')}\r\n\r\n`)
  const references = /^References: (.*)$/m.exec(unfolded(mail))?.[1]?.trim()
  t.same(references?.split(/\s+/), ids)
})

t.test('the attachment is the sealed copy, and the size is known beforehand', async (t) => {
  for (const size of [3, 56, 57, 58, 114, 4000, 300_000]) {
    const sealed = copyOf(size)
    const mail = composer.sealed(partsOf('To: bo@example.org\r\n\r\n', { sealed }))
    const octets = await octetsOf(mail)
    t.equal(octets.length, mail.size)
    const parsed = await simpleParser(octets)
    t.equal(parsed.attachments.length, 1)
    t.match(parsed.attachments[0], { filename: 'protected-message.sealpost', contentType: 'application/vnd.sealpost' })
    t.ok(parsed.attachments[0]?.content.equals(sealed.bytes ?? Buffer.alloc(0)))
  }
})

t.test('where the mail does not carry the envelope there is only the notice', async (t) => {
  const mail = composer.sealed(partsOf('To: bo@example.org\r\n\r\n', { sealed: null }))
  const octets = await octetsOf(mail)
  t.equal(octets.length, mail.size)
  const parsed = await simpleParser(octets)
  t.equal(parsed.attachments.length, 0)
  t.match(parsed.text, /kept, encrypted, by the organization/)
})

t.test('base64 is the same whatever the chunks', async (t) => {
  const octets = copyOf(10_000).bytes ?? Buffer.alloc(0)
  const expected = octets.length
  const reference = Buffer.from(octets)
    .toString('base64')
    .replace(/.{1,76}/g, '$&\r\n')
  t.equal(base64Lines(octets).toString('latin1'), reference)
  t.equal(base64Size(expected), reference.length)
  for (const step of [1, 7, 57, 1000, 4096]) {
    async function* pieces() {
      for (let at = 0; at < octets.length; at += step) yield octets.subarray(at, at + step)
    }
    const kept: Uint8Array[] = []
    for await (const piece of base64Stream(pieces(), octets.length, 'kept')) kept.push(piece)
    t.equal(Buffer.concat(kept).toString('latin1'), reference, `in pieces of ${step}`)
    const lent: string[] = []
    for await (const piece of base64Stream(pieces(), octets.length, 'lent'))
      lent.push(Buffer.from(piece).toString('latin1'))
    t.equal(lent.join(''), reference, `lent, in pieces of ${step}`)
  }
})

t.test('a passed mail gets our stamps and loses only what must reach no recipient', async (t) => {
  const message =
    'Subject: hi\r\nBcc: x@example.org\r\nSealpost-Tenant: s\r\nx-sealpost-tenant: s\r\nX-Odd : kept\r\n\r\nbody \xe9\r\n'
  const body = Buffer.from('\r\nbody \xe9\r\n', 'latin1')
  const mail = composer.passed({
    received: 'from a by b',
    handled: 'v=1',
    fields: fieldsIn(message),
    async *body() {
      yield body
    },
    bodySize: body.length,
    eightBit: true,
    smtpUtf8: false,
  })
  const octets = await octetsOf(mail)
  t.equal(
    octets.toString('latin1'),
    'Received: from a by b\r\nSealpost-Handled: v=1\r\nSubject: hi\r\nX-Odd : kept\r\n\r\nbody \xe9\r\n',
  )
  t.match(mail, { size: octets.length, eightBit: true, smtputf8: false })
})

const corpus = readCorpus() ?? []
const absent = corpus.length === 0 ? '../shared/corpus is absent: skipped' : false

t.test('every message of the corpus: 7-bit, short lines, and parsed without complaint', { skip: absent }, async (t) => {
  const folder = join(t.testdir(), 'mails')
  mkdirSync(folder)
  for (const [i, { name, octets }] of corpus.entries()) {
    const parts = partsOf(octets)
    const mail = composer.sealed(parts)
    const out = await octetsOf(mail)
    const faults: string[] = []
    if (out.length !== mail.size) faults.push('size')
    if (!mail.smtputf8 && /[^\r\n\t\x20-\x7e]/.test(out.toString('latin1'))) faults.push('not 7-bit')
    if (
      out
        .toString('latin1')
        .split('\r\n')
        .some((line) => line.length > 998 || /[\r\n]/.test(line))
    )
      faults.push('line')
    const parsed = await simpleParser(out)
    if (parsed.attachments.length !== 1) faults.push('attachments')
    if (parsed.from === undefined) faults.push('From')
    if (faults.length > 0) t.fail(`${name}: ${faults.join(', ')}`)
    writeFileSync(join(folder, `${String(i).padStart(3, '0')}.eml`), out)
  }
  t.pass(`${corpus.length} messages`)
  const python = spawnSync('python3', ['-c', pythonCheck, folder], { encoding: 'utf8' })
  if (python.error !== undefined) return t.comment('python3 is absent: its parser was not asked')
  t.equal(python.stdout + python.stderr, '', 'Python finds no defect')
})

const pythonCheck = `
import sys, os, email, email.policy
for name in sorted(os.listdir(sys.argv[1])):
    data = open(os.path.join(sys.argv[1], name), 'rb').read()
    try:
        message = email.message_from_bytes(data, policy=email.policy.strict)
        for part in message.walk():
            for key, value in part.items(): str(value)
            if not part.is_multipart(): part.get_content()
            if part.defects: print(name, part.defects)
        kinds = [part.get_content_type() for part in message.walk()]
        if kinds != ['multipart/mixed', 'multipart/alternative', 'text/plain', 'text/html', 'application/vnd.sealpost']: print(name, kinds)
    except Exception as error:
        print(name, type(error).__name__, error)
`
