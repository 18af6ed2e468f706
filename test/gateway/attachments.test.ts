import { deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { kindOf } from '../../gateway/attachment-kind.ts'
import { readFacts } from '../../gateway/facts.ts'
import { parseHeader } from '../../gateway/header.ts'
import { readMemory } from '../../gateway/intake.ts'
import { readPart } from '../../gateway/mime-part.ts'
import { createPartScan } from '../../gateway/mime-parts.ts'
import { createTransferDecoder } from '../../gateway/transfer-decoding.ts'
import { createUuencodedSearch } from '../../gateway/uuencoded.ts'

const everything = { kinds: true, contents: true, text: false, patterns: [], scanRules: [] }

async function attachmentsOf(text: string, reads = everything) {
  const content = readMemory(Buffer.from(text.replace(/\r?\n/g, '\r\n'), 'latin1'))
  if (content === null) throw new Error('the header is too large')
  const found = await readFacts(content, null, { domains: ['acme.example'], reads })
  return { attachments: found.attachments, malformed: found.malformed, signed: found.signed, calendar: found.calendar }
}

function attached(name: string, octets: Buffer, type = 'application/octet-stream') {
  const lines = octets.toString('base64').replace(/.{76}/g, '$&\n')
  return `Content-Type: ${type}\nContent-Disposition: attachment; filename="${name}"\nContent-Transfer-Encoding: base64\n\n${lines}\n`
}

function mixed(boundary: string, ...parts: readonly string[]) {
  return `Content-Type: multipart/mixed; boundary="${boundary}"\n\n${parts.map((part) => `--${boundary}\n${part}`).join('\n')}\n--${boundary}--\n`
}

/** A ZIP archive of one file; `locked` sets the flag that says its content is encrypted. */
function zip(name: string, content: string, locked = false): Buffer {
  const data = deflateRawSync(content)
  const head = Buffer.alloc(30)
  head.write('PK\x03\x04', 'latin1')
  head.writeUInt16LE(20, 4)
  head.writeUInt16LE(locked ? 1 : 0, 6)
  head.writeUInt16LE(8, 8)
  head.writeUInt32LE(data.length, 18)
  head.writeUInt32LE(content.length, 22)
  head.writeUInt16LE(name.length, 26)
  return Buffer.concat([head, Buffer.from(name), data])
}

const program = Buffer.concat([Buffer.from('MZ\x90\0\x03\0\0\0', 'latin1'), Buffer.alloc(600)])

t.test('attachments are found in multiparts inside multiparts and in messages inside messages', async (t) => {
  const innermost = `Subject: innermost\n${mixed('c', 'Content-Type: text/plain\n\nhi', attached('deep.exe', program))}`
  const forwarded = `Subject: forwarded\n${mixed('b', 'Content-Type: text/plain\n\nhello', `Content-Type: message/rfc822\n\n${innermost}`)}`
  const related = mixed(
    'r',
    'Content-Type: text/html\n\n<p>hi</p>',
    attached('logo.png', Buffer.from('\x89PNG\r\n', 'latin1')),
  )
  const { attachments, malformed } = await attachmentsOf(
    `From: anna@acme.example\n${mixed('a', related, `Content-Type: message/rfc822\n\n${forwarded}`, attached('last.pdf', Buffer.from('%PDF-1.7')))}`,
  )
  t.strictSame(
    attachments.map(({ name, kind }) => [name, kind]),
    [
      ['logo.png', 'image'],
      ['', 'message'],
      ['', 'message'],
      ['deep.exe', 'program'],
      ['last.pdf', 'pdf'],
    ],
  )
  t.equal(malformed, false)
})

t.test('a mail that is nothing but a file has that file', async (t) => {
  const { attachments } = await attachmentsOf(
    `From: anna@acme.example\n${attached('offer.pdf', Buffer.from('%PDF-1.7 and more'))}`,
  )
  t.strictSame(attachments, [
    { name: 'offer.pdf', type: 'application/octet-stream', kind: 'pdf', size: 17, locked: false },
  ])
})

t.test('the octets are told, and whether an archive needs a password', async (t) => {
  const second = Buffer.concat([zip('open.txt', 'open'), zip('secret.txt', 'secret', true)])
  const big = Buffer.alloc(300_000, 7)
  const { attachments } = await attachmentsOf(
    `From: anna@acme.example\n${mixed('a', attached('open.zip', zip('a.txt', 'x')), attached('second.zip', second), attached('big.bin', big), attached('notzip.bin', Buffer.concat([big, zip('a', 'b', true)])), attached('before.zip', Buffer.concat([Buffer.from('#'), zip('a', 'b', true)])))}`,
  )
  t.strictSame(
    attachments.map(({ name, size, locked }) => [name, size, locked]),
    [
      ['open.zip', zip('a.txt', 'x').length, false],
      ['second.zip', second.length, true],
      ['big.bin', 300_000, false],
      ['notzip.bin', 300_000 + zip('a', 'b', true).length, false],
      ['before.zip', 1 + zip('a', 'b', true).length, true],
    ],
  )
})

t.test('what no rule asks for is not found out', async (t) => {
  const mail = `From: anna@acme.example\n${mixed('a', attached('x.bin', program))}`
  const [none] = (await attachmentsOf(mail, { ...everything, kinds: false, contents: false })).attachments
  t.match(none, { kind: 'other', size: 0, locked: false })
  const [kind] = (await attachmentsOf(mail, { ...everything, contents: false })).attachments
  t.match(kind, { kind: 'program', size: 0 })
})

t.test('a signature or a calendar of an attached message is not one of this message', async (t) => {
  const inner =
    'Subject: x\nContent-Type: multipart/signed; boundary=s\n\n--s\nContent-Type: text/calendar; method=REPLY\n\n--s--\n'
  const { signed, calendar } = await attachmentsOf(
    `From: anna@acme.example\n${mixed('a', 'Content-Type: text/plain\n\nhi', `Content-Type: message/rfc822\n\n${inner}`)}`,
  )
  t.equal(signed, false)
  t.equal(calendar, '')
})

t.test('what is wrong inside an attached message leaves this one readable', async (t) => {
  const broken = 'Content-Type: multipart/mixed\nContent-Type: text/plain\n\nno boundary'
  const { attachments, malformed } = await attachmentsOf(
    `From: anna@acme.example\n${mixed('a', `Content-Type: message/rfc822\n\n${broken}`, attached('after.pdf', Buffer.from('%PDF-')))}`,
  )
  t.equal(malformed, false)
  t.equal(attachments.at(-1)?.name, 'after.pdf')
})

t.test('messages inside one another without end are called malformed, soon', async (t) => {
  const started = performance.now()
  const nested = 'Content-Type: message/rfc822\n\n'.repeat(30_000)
  const { malformed } = await attachmentsOf(`From: anna@acme.example\n${nested}`)
  t.equal(malformed, true)
  t.ok(performance.now() - started < 1000)
})

t.test('a digest holds messages, said or not', async (t) => {
  const { attachments } = await attachmentsOf(
    `From: anna@acme.example\nContent-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: one\n${attached('one.exe', program)}\n--d--\n`,
  )
  t.strictSame(
    attachments.map(({ name, kind }) => [name, kind]),
    [
      ['', 'message'],
      ['one.exe', 'program'],
    ],
  )
})

t.test('the kind goes by name, type and first octets', async (t) => {
  const octets = (text: string) => Buffer.from(text, 'latin1')
  const cases = [
    ['setup.exe', 'application/octet-stream', '', 'program'],
    ['SETUP.EXE. ', 'application/octet-stream', '', 'program'],
    ['holiday.jpg', 'image/jpeg', 'MZ\x90\0', 'program'],
    ['Mz.txt', 'text/plain', 'MZ is how it begins', 'text'],
    ['tool', 'application/octet-stream', '\x7fELF\x02', 'program'],
    ['tool.appref-ms', 'application/octet-stream', '', 'program'],
    ['tool.SettingContent-ms', 'text/xml', '<', 'script'],
    ['tool.wsc', 'text/plain', '<', 'script'],
    ['report.pdf', 'application/x-msdownload', '%PDF-1.4', 'program'],
    ['run.txt', 'text/plain', '#!/bin/sh\nrm', 'script'],
    ['macro.vbs', 'text/plain', 'Dim x', 'script'],
    ['letter.docx', 'application/zip', 'PK\x03\x04', 'office'],
    ['letter.zip', 'application/zip', `PK\x03\x04${'\0'.repeat(26)}[Content_Types].xml`, 'office'],
    ['files.zip', 'application/zip', 'PK\x03\x04', 'archive'],
    ['files.jpg', 'image/jpeg', 'PK\x03\x04', 'archive'],
    ['app.jar', 'application/zip', 'PK\x03\x04', 'program'],
    ['old.doc', 'application/msword', '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'office'],
    ['mail.msg', 'application/octet-stream', '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'message'],
    ['x.dat', 'application/octet-stream', '%PDF-1.4', 'pdf'],
    ['winmail.dat', 'application/octet-stream', 'x\x9f>"', 'archive'],
    ['winmail.dat', 'application/ms-tnef', '', 'archive'],
    ['x.dat', 'application/octet-stream', 'just words', 'text'],
    ['x.dat', 'application/octet-stream', '\0\x01\x02', 'other'],
    ['page.htm', 'text/plain', '<p>', 'html'],
    ['', 'text/calendar', 'BEGIN:VCALENDAR', 'calendar'],
    ['smime.p7s', 'application/pkcs7-signature', '0\x82', 'signature'],
    ['constructor', 'x/__proto__', '', 'other'],
    ['a.constructor', 'x/y', '', 'other'],
  ] as const
  for (const [name, type, head, kind] of cases)
    t.equal(kindOf(name, type, octets(head)), kind, `${name} ${type} ${kind}`)
})

t.test('a program by the name that some mail program goes by is one', async (t) => {
  const disposition = (value: string) => `Content-Disposition: attachment; ${value}`
  const heads = [
    disposition('filename=my setup.js'),
    disposition('filename="setup.js'),
    disposition('filename=""setup.js"'),
    'Content-Type: text/plain; filename=setup.js',
    disposition('filename(a comment)=\'\'"setup.js"'),
    disposition('(a comment) filename=setup.js'),
    disposition('filename="setup.js\t"'),
    disposition(`filename="setup.js${'.'.repeat(100)}"`),
    disposition(`filename="${'n'.repeat(1100)}.js"`),
    disposition('filename="=?utf-8?Q?set up=2Ejs?="'),
    disposition('filename="=?x-none?Q?setup=2Ejs?="'),
    disposition('filename==?utf-8?Q?set?= =?utf-8?Q?up=2Ejs?='),
    disposition('filename*=setup%2Ejs'),
    disposition("filename=setup.js; filename*=utf-8''notes.txt"),
    disposition('filename=notes.txt; filename=setup.js'),
    `Content-Type: text/plain; name=setup.js\n${disposition('filename=notes.txt')}`,
  ]
  for (const head of heads) {
    const { attachments, malformed } = await attachmentsOf(
      `From: anna@acme.example\n${mixed('b', `${head}\n\nalert(1)`)}`,
    )
    t.match({ attachments, malformed }, { attachments: [{ kind: 'script' }], malformed: false }, head.slice(0, 100))
  }
})

t.test('the first octets are found behind empty lines, and whatever way the encoding is written', async (t) => {
  const kindsOnly = { ...everything, contents: false }
  const coded = `${'\n'.repeat(3000)}${program.toString('base64')}`
  for (const encoding of ['base64', '"base64"', '(a comment) Base64', 'base64 (a comment)', 'base64;']) {
    const part = `Content-Type: application/octet-stream; name=x.dat\nContent-Transfer-Encoding: ${encoding}\n\n${coded}`
    const { attachments } = await attachmentsOf(`From: anna@acme.example\n${mixed('b', part)}`, kindsOnly)
    t.match(attachments, [{ kind: 'program' }], encoding)
  }
})

t.test('where mail programs do not agree on the parts, the mail is malformed', async (t) => {
  const exe = attached('setup.exe', program)
  const parts = [
    `Content-Type: multipart/mixed; boundary=x; boundary=c\n\n--c\n${exe}\n--c--`,
    `Content-Type: multipart/mixed; boundary="${'x'.repeat(300)}"\n\n--${'x'.repeat(300)}\n${exe}`,
    `Content-Type: multipart/mixed; boundary="\xc3\xbc"\n\n--\xc3\xbc\n${exe}\n--\xc3\xbc--`,
    `Content-Type: multipart; boundary=c\n\n--c\n${exe}\n--c--`,
    `X-Long: ${`${'x'.repeat(70)}\n `.repeat(1000)}y\n${exe}`,
    `no field\n${exe}`,
    `Content-Type: text/plain\n${exe}`,
    `Content-Transfer-Encoding: 7bit\n${exe}`,
    exe.replace('base64', 'base64--'),
    `Content-Type: mixed/multipart; boundary=c\n\n--c\n${exe}\n--c--`,
    `\nhello\n--a--\n--a\n${exe}`,
    `Content-Disposition: inline\n${exe}`,
    `Content-Type: text/plain\nContent-Disposition: filename=setup.exe\n\nx`,
    `Content-Type: text/plain\nContent-Disposition: attachment; x="${'y'.repeat(17_000)}"; filename=setup.exe\n\nx`,
    `Content-Disposition: attachment${Array.from({ length: 300 }, (_, n) => `; a${n}=b`).join('')}; filename=setup.exe\n\nx`,
  ]
  for (const part of parts) {
    const { malformed } = await attachmentsOf(`From: anna@acme.example\n${mixed('a', part)}`)
    t.equal(malformed, true, part.slice(0, 100))
  }
})

t.test('a file within a text makes the mail malformed, where rules ask for files', async (t) => {
  const uuencoded = 'hello\nbegin 644 setup.exe\n#0V%T\n`\nend\n'
  const malformed = async (body: string, reads = everything) =>
    (await attachmentsOf(`From: anna@acme.example\n\n${body}`, reads)).malformed
  t.equal(await malformed(uuencoded), true)
  t.equal(await malformed(mixed('b', `Content-Type: text/plain\n\n${uuencoded}`)), true)
  t.equal(await malformed('hello\nbegin 644 times, and end\n\nbegin 9 x\n!\n'), false)
  t.equal(await malformed(uuencoded, { ...everything, kinds: false, contents: false }), false)
  const octets = Buffer.from(uuencoded.replace(/\n/g, '\r\n'))
  for (let size = 1; size < octets.length; size++) {
    const search = createUuencodedSearch()
    for (let at = 0; at < octets.length; at += size) search.feed(octets.subarray(at, at + size))
    t.equal(search.found(), true, `in pieces of ${size}`)
  }
})

t.test('labels of Microsoft are read, several of them, and what is none is passed over', async (t) => {
  const one = 'e2d7b1a0-1111-2222-3333-444455556666'
  const other = '0aa0b1a0-1111-2222-3333-444455556666'
  const field = [
    `msip_labels: MSIP_Label_${one.toUpperCase()}_Enabled=True;\n MSIP_Label_${one}_Name==?utf-8?q?Geheim_=C3=BC?=; MSIP_Label_${one}_SiteId=ABC;`,
    `\n MSIP_Label_${one}_ContentBits=9; MSIP_Label_${one}_Method=Privileged; MSIP_Label_${one}_Enabled=False;`,
    ` MSIP_Label_nonsense_Enabled=True; =;;; MSIP_Label_${other}_Name=General; MSIP_Label_${other}_ContentBits=1e9`,
  ].join('')
  const read = async (header: string) => {
    const content = readMemory(Buffer.from(`${header}\n\nbody\n`.replace(/\n/g, '\r\n')))
    if (content === null) throw new Error('the header is too large')
    return (await readFacts(content, null, { domains: [], reads: everything })).labels
  }
  t.strictSame(await read(field), [
    { id: one, name: 'Geheim ü', tenant: 'abc', enabled: true, method: 'privileged', encrypts: true },
    { id: other, name: 'General', tenant: '', enabled: false, method: '', encrypts: false },
  ])
  t.strictSame(await read('Subject: none'), [])
  const many = Array.from(
    { length: 100 },
    (_, n) => `MSIP_Label_${String(n).padStart(8, '0')}-1111-2222-3333-444455556666_Enabled=True`,
  )
  t.equal((await read(`msip_labels: ${many.join(';\n ')}`)).length, 32)
})

t.test('the parts do not depend on how the octets come', async () => {
  const pieces = [
    '\r\n',
    '\r\n--a',
    '\r\n--b',
    '--',
    'Content-Type: multipart/mixed; boundary=b',
    'Content-Type: message/rfc822',
    'X: y',
    'text',
  ]
  const message = readPart(
    parseHeader(Buffer.from('Content-Type: multipart/mixed; boundary=a\r\n\r\n')) ?? {
      fields: [],
      end: 0,
      bodyStart: 0,
    },
  )
  const told = (octets: Buffer, sizes: readonly number[]) => {
    const bodies: string[] = []
    const scan = createPartScan(message, () => {
      const index = bodies.push('') - 1
      return { write: (octets) => (bodies[index] += Buffer.from(octets).toString('latin1')) }
    })
    let at = 0
    for (const size of sizes) {
      scan.feed(octets.subarray(at, at + size))
      at += size
    }
    scan.feed(octets.subarray(at))
    const { parts, malformed } = scan.finish()
    return JSON.stringify([parts.map(({ type, within }) => [type, within]), malformed, bodies])
  }
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...pieces, 'filler '.repeat(90), `\r\n--${'y'.repeat(300)}`), { maxLength: 40 }),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 400, max: 1200 })), { maxLength: 40 }),
      (text, sizes) => {
        const octets = Buffer.from(`\r\n${text.join('')}`)
        return told(octets, []) === told(octets, sizes)
      },
    ),
    { numRuns: 3000 },
  )
})

t.test('transfer encodings come off however the octets come', async (t) => {
  const decoded = (encoding: string, text: string, size: number) => {
    const decode = createTransferDecoder(encoding)
    const out: Buffer[] = []
    for (let at = 0; at < text.length; at += size)
      out.push(Buffer.from(decode(Buffer.from(text.slice(at, at + size), 'latin1'))))
    return Buffer.concat(out).toString('latin1')
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 50 }), (octets, size) => {
      const text = Buffer.from(octets).toString('base64').replace(/.{10}/g, '$&\r\n')
      return decoded('base64', text, size) === Buffer.from(octets).toString('latin1')
    }),
  )
  const cases = [
    ['gr=C3=BC=c3=9fe', 'gr\xc3\xbc\xc3\x9fe'],
    ['a soft =\r\nend', 'a soft end'],
    ['blanks = \t \r\nend', 'blanks end'],
    ['no = octet =ZZ =A', 'no = octet =ZZ '],
    ['1 == 1', '1 == 1'],
  ] as const
  for (const [text, expected] of cases) {
    for (const size of [1, 2, 3, 100]) t.equal(decoded('quoted-printable', text, size), expected, `${text} by ${size}`)
  }
  t.equal(decoded('base64', 'YQ==\r\nYg==', 3), 'ab', 'what stands behind padding is seen')
  t.equal(decoded('x-unknown', 'as it is', 3), 'as it is')
})
