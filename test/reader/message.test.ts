import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parseMessage, safeName } from '../../reader/message.ts'
import { mail, rich } from './mails.ts'

const read = (text: string) => parseMessage(new Uint8Array(Buffer.from(text)))

t.test('text, HTML, pictures and attachments of a message are told apart', async (t) => {
  const message = await read(rich)
  t.match(message, {
    subject: 'Your contract – please read',
    from: { name: 'Anna Example', address: 'anna@acme.example' },
  })
  t.equal(message?.sections.length, 1)
  t.match(message?.sections[0], { kind: 'html', text: /The contract is attached/ })
  t.same(
    message?.files.map(({ name }) => name),
    ['Contract 2027.pdf', 'rent.csv'],
    'the inline picture is no attachment',
  )
  t.ok(message?.images.has('logo@acme'))
})

t.test('HTML parts stay apart, each with what belongs to it', async (t) => {
  const part = (type: string, text: string) => ['--b', `Content-Type: ${type}`, '', text]
  const message = await read(
    mail(
      'Content-Type: multipart/mixed; boundary=b',
      '',
      ...part('text/html', '<img src="'),
      ...part('text/plain', 'secret'),
      ...part('text/html', '">'),
      '--b--',
    ),
  )
  t.same(
    message?.sections.map((section) => (section.kind === 'html' ? section.html.trim() : section.text.trim())),
    ['<img src="', 'secret', '">'],
  )
})

t.test('a picture that no text shows is a file, and one that a text shows is none', async (t) => {
  const picture = (id: string, type: string) => ['--r', `Content-Type: ${type}`, `Content-ID: <${id}>`, '', 'x']
  const related = (text: readonly string[]) =>
    mail(
      'Content-Type: multipart/related; boundary=r',
      '',
      '--r',
      ...text,
      ...picture('shown+1@acme', 'image/jpg'),
      ...picture('unnamed@acme', 'image/png'),
      '--r--',
    )
  const html = await read(related(['Content-Type: text/html', '', `<img alt="a" src='CID:shown%2B1@acme'>`]))
  t.same(
    html?.files.map(({ name }) => name),
    ['attachment-1.png'],
  )
  t.ok(html?.images.has('shown+1@acme'))
  const plain = await read(related(['Content-Type: text/plain', '', 'See [cid:shown+1@acme]']))
  t.equal(plain?.files.length, 2, 'plain text shows no pictures')
})

t.test('an invitation without a name is a file that a calendar opens', async (t) => {
  const invitation = ['Content-Type: text/calendar; method=REQUEST', '', 'BEGIN:VCALENDAR', 'END:VCALENDAR']
  const part = ['--b', 'Content-Type: text/plain', '', 'Shall we meet?']
  const message = await read(
    mail('Content-Type: multipart/alternative; boundary=b', '', ...part, '--b', ...invitation, '--b--'),
  )
  t.match(message?.files[0]?.name, /\.ics$/)
})

t.test('a message inside the message is a file', async (t) => {
  const inner = mail('Subject: Inner', 'Content-Type: text/html', '', '<p>inner</p>')
  const message = await read(
    mail('Content-Type: multipart/mixed; boundary=b', '', '--b', 'Content-Type: message/rfc822', '', inner, '--b--'),
  )
  t.same(message?.sections, [])
  t.match(message?.files[0]?.name, /\.eml$/)
})

t.test('an attachment has the octets that were attached, whatever carried them', async (t) => {
  const signed = 'Bill;1,00\r\nTotal;1,00\r\n'
  const inner = 'Subject: Inner\r\n\r\nText \r\r\n\r\n'
  const latin1 = 'SUMMARY:Caf\u00e9\r\n'
  const part = (type: string, encoding: string, body: string) =>
    `--b\r\nContent-Type: ${type}\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${body}\r\n`
  const source =
    'Content-Type: multipart/mixed; boundary=b\r\n\r\n' +
    part('text/csv', '7bit', signed) +
    part('text/csv', 'quoted-printable', 'Bill;1=2C=\r\n00\r\nTotal;1,00=0D=0A=') +
    part('message/rfc822', '8bit', inner) +
    part('image/png', 'binary', '\x89PNG\r\n\x1a\n\n\n') +
    part('text/calendar; charset=UTF-8', '7bit', signed) +
    part('text/calendar', 'base64', Buffer.from(signed).toString('base64')) +
    part('text/calendar; charset=iso-8859-1', '8bit', latin1) +
    part('text/plain', '7bit', '') +
    part('text/plain', 'quoted-printable', 'a=3=D =zz=').replace(/\r\n$/, '')
  const message = await parseMessage(new Uint8Array(Buffer.from(source, 'latin1')))
  t.same(
    message?.files.map(({ octets }) => Buffer.from(octets).toString('latin1')),
    [
      ...[signed, signed, inner, '\x89PNG\r\n\x1a\n\n\n', signed, signed],
      Buffer.from('SUMMARY:Caf\u00e9\n').toString('latin1'),
      ...['', 'a=3=D =zz'],
    ],
  )
  const whole = await read('Content-Type: application/xml\n\n<a>\n</a>\n')
  t.equal(Buffer.from(whole?.files[0]?.octets ?? []).toString(), '<a>\n</a>\n', 'a message that is the file')
})

t.test('flowed text is made whole, and no quote runs into another or into the answer', async (t) => {
  const flowed = async (parameters: string, ...lines: readonly string[]) => {
    const [section] =
      (await read(mail(`Content-Type: text/plain; format=flowed${parameters}`, '', ...lines)))?.sections ?? []
    return section?.kind === 'text' ? section.text.trimEnd() : null
  }
  t.equal(
    await flowed(
      '',
      ...[
        '> > Will you pay? ',
        '> I agree ',
        '> to pay. ',
        'No, I ',
        'never did.',
        '',
        ' > no quote',
        ' From: x',
        '-- ',
        'Anna',
      ],
    ),
    '>> Will you pay? \n> I agree to pay. \nNo, I never did.\n\n> no quote\nFrom: x\n-- \nAnna',
  )
  t.equal(
    await flowed('; delsp=yes', '>> Donau ', '>> dampf ', '> schiff', 'Kapi ', 't\u00e4n'),
    '>> Donaudampf\n> schiff\nKapit\u00e4n',
  )
})

t.test('what is encrypted once more, or signed in a form of its own, is named', async (t) => {
  const armour = '-----BEGIN PGP MESSAGE-----'
  for (const [expected, ...lines] of [
    ['smime', 'Content-Type: application/pkcs7-mime; name=smime.p7m', '', 'AAAA'],
    ['smime', 'Content-Type: application/x-pkcs7-mime', '', 'AAAA'],
    ['smime', 'Content-Type: application/pkcs7-mime; smime-type=enveloped-data', '', 'AAAA'],
    ['smime-signed', 'Content-Type: application/pkcs7-mime; name=smime.p7m; smime-type="signed-data"', '', 'AAAA'],
    ['pgp', 'Content-Type: multipart/encrypted; boundary=b', '', '--b--'],
    ['pgp', 'Content-Type: text/plain', '', armour, '', 'AAAA'],
    [null, 'Content-Type: multipart/signed; boundary=b', '', '--b', '', 'signed text', '--b--'],
  ] as const) {
    const message = await read(mail(...lines))
    t.equal(message?.sealedAgain, expected, lines[0])
  }
})

t.test('a file name cannot hide what the file is', (t) => {
  for (const [given, shown] of [
    ['report.pdf', 'report.pdf'],
    ['../../etc/passwd', '_.._etc_passwd'],
    ['C:\\temp\\a.txt', 'C__temp_a.txt'],
    ['photo\u202egpj.exe', 'photogpj.exe'],
    ['\u061cgpj.exe', 'gpj.exe'],
    [`invoice.pdf${'\u00a0'.repeat(60)}.exe`, 'invoice.pdf .exe'],
    [`invoice.pdf${'\u3164'.repeat(40)}${'\u2800'.repeat(40)}.exe`, 'invoice.pdf .exe'],
    ['re\u00adport\u{e0041}.js', 'report.js'],
    ['a\u0000b\r\nc', 'abc'],
    ['...hidden', 'hidden'],
    [' . ', ''],
    ['Straße 5 – 家.pdf', 'Straße 5 – 家.pdf'],
  ] as const) {
    t.equal(safeName(given), shown)
  }
  t.ok(safeName(`${'a'.repeat(500)}.exe`).endsWith('.exe'))
  t.ok(safeName('a'.repeat(500)).length <= 120)
  t.end()
})

t.test('what is no mail at all is still something', async (t) => {
  t.match(await read(''), { sections: [], files: [] })
  t.ok(await parseMessage(crypto.getRandomValues(new Uint8Array(5000))))
})

const corpus = fileURLToPath(new URL('../../../shared/corpus/', import.meta.url))
const absent = !existsSync(corpus) && 'the corpus is not beside the project (../shared/corpus): skipped'

t.test('every message of the corpus is read, or honestly given up', { skip: absent }, async (t) => {
  const files = readdirSync(corpus, { recursive: true, withFileTypes: true }).filter((one) => one.isFile())
  let readable = 0
  let refused = 0
  for (const file of files) {
    const message = await parseMessage(new Uint8Array(readFileSync(join(file.parentPath, file.name))))
    if (message === null) refused++
    else readable++
  }
  t.comment(`${readable} read, ${refused} given up`)
  t.ok(readable > refused * 20)
})

t.test('a message of millions of short lines is not read, rather than holding the page up', async (t) => {
  const started = performance.now()
  t.equal(await read(mail('Subject: many', '', '\r\n'.repeat(3_000_000))), null)
  t.equal(await read(mail('Content-Type: multipart/mixed; boundary=b', '', '--b\r\n\r\nx\r\n'.repeat(500_000))), null)
  t.ok(performance.now() - started < 5_000)
  const base64 = `${'A'.repeat(76)}\r\n`.repeat(320_000)
  t.ok(
    await read(mail('Content-Type: application/zip', 'Content-Transfer-Encoding: base64', '', base64)),
    '25 MB of base64 are',
  )
})
