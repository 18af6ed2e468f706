import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { readFacts } from '../../gateway/facts.ts'
import { htmlText } from '../../gateway/html-text.ts'
import { createContentWriter, readMemory } from '../../gateway/intake.ts'
import { createRoom } from '../../gateway/room.ts'

const reads = { kinds: false, contents: false, text: true, patterns: [] as string[], scanRules: [] }
const policy = { domains: ['acme.example'], reads }

async function textOf(mail: string, charset: BufferEncoding = 'utf8') {
  const content = readMemory(Buffer.from(mail.replace(/\r?\n/g, '\r\n'), charset))
  if (content === null) throw new Error('the header is too large')
  return readFacts(content, null, policy)
}

t.test('body and text attachments are read, whatever they are encoded in', async (t) => {
  const utf16 = Buffer.from('\ufeffword-utf16', 'utf16le').toString('base64')
  const mail = `Subject: =?utf-8?q?word-s=C3=BCbject?=
Content-Type: multipart/mixed; boundary=m

preamble word-preamble
--m
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

word-pl=E4in soft=
ly broken
--a
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

${Buffer.from('<p>word-<b>html</b> <script>word-script</script><!-- word-comment --></p>').toString('base64')}
--a--
--m
Content-Type: application/json; name=a.json

{"a": "word-json"}
--m
Content-Type: application/octet-stream; name=table.CSV

1,2,word-csv
--m
Content-Type: application/octet-stream

word-unnamed
--m
Content-Type: application/octet-stream; name=16.txt
Content-Transfer-Encoding: base64

${utf16}
--m
Content-Type: message/rfc822

Subject: =?utf-8?q?word-subject=2Dinside?=
Content-Transfer-Encoding: quoted-printable

word-fo=72warded
--m
Content-Type: message/global
Content-Transfer-Encoding: base64

${Buffer.from('Subject: word-encoded\r\n\r\nword-in-encoded').toString('base64')}
--m
Content-Type: application/pdf; name=a.pdf

%PDF-1.4 word-pdf
--m--
`
  const { text, textWhole } = await textOf(mail)
  const words = [
    'sübject',
    'pläin softly broken',
    'html',
    'json',
    'csv',
    'unnamed',
    'utf16',
    'forwarded',
    'subject-inside',
    'encoded',
  ]
  for (const word of [...words, 'in-encoded']) t.ok(text.contains(`word-${word}`), word)
  for (const word of ['pdf', 'script', 'comment', 'preamble']) t.notOk(text.contains(`word-${word}`), word)
  t.equal(textWhole, true)
})

t.test('where no rule asks, nothing is read', async (t) => {
  const content = readMemory(Buffer.from('Subject: x\r\n\r\nbody\r\n'))
  if (content === null) throw new Error('the header is too large')
  const { text } = await readFacts(content, null, { ...policy, reads: { ...reads, text: false } })
  t.equal(text.characters, 0)
})

t.test('a byte order mark hides nothing, and neither does the lack of one', async (t) => {
  const plain = (charset: string, octets: Buffer) =>
    textOf(
      `Content-Type: text/plain; charset=${charset}\nContent-Transfer-Encoding: base64\n\n${octets.toString('base64')}\n`,
    )
  const words = Buffer.from('plain words', 'utf16le')
  const marked = Buffer.concat([Buffer.from('\xff\xfe', 'latin1'), words])
  const cases = [
    ['iso-8859-1', Buffer.from('\xff\xfeplain words', 'latin1')],
    ['utf-8', Buffer.from('\xff\xfeplain words', 'latin1')],
    ['iso-8859-1', marked],
    ['utf-16', marked],
    ['utf-16', words],
    ['utf-16', Buffer.from(words).swap16()],
    ['UTF-16BE', Buffer.from(words).swap16()],
  ] as const
  for (const [charset, octets] of cases) {
    t.ok((await plain(charset, octets)).text.contains('plain words'), `${charset} ${octets.toString('hex')}`)
  }
})

t.test('what could not be looked at is said', async (t) => {
  const part = (header: string, body: string) => `Subject: x\n${header}\n\n${body}\n`
  const cases = [
    [part('Content-Type: text/plain', 'x'), true],
    [part('Content-Type: text/plain; charset=utf-7', 'x'), false],
    [part('Content-Type: text/plain; charset=windows-1252', 'x'), true],
    [part('Content-Transfer-Encoding: x-uuencode', 'x'), false],
    [part('Content-Type: text/plain', 'x'.repeat(1_048_574)), true],
    [part('Content-Type: text/plain', 'x'.repeat(1_048_577)), false],
    [part('Content-Type: multipart/mixed', 'x'), false],
  ] as const
  for (const [mail, whole] of cases) t.equal((await textOf(mail)).textWhole, whole, mail.slice(0, 80))
  const { text } = await textOf(part('Content-Type: text/plain; charset=nobody-knows', 'plain words'))
  t.ok(text.contains('plain words'), 'ASCII is read in any of them')
})

t.test('what could not be looked at in an attached message is said', async (t) => {
  const attached = (head: string, body: string) =>
    `Subject: x\nContent-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: ${head}\n\n${body}\n--m--\n`
  const inner = 'Subject: y\nContent-Transfer-Encoding: base64\n\nd29yZA=='
  const coded = Buffer.from(inner).toString('base64')
  const cases = [
    [attached('message/rfc822', inner), true],
    [attached('message/global\nContent-Transfer-Encoding: base64', coded), false],
    [attached('message/rfc822\nContent-Transfer-Encoding: base64', inner), false],
    [attached('application/octet-stream; name=y.eml', inner), false],
    [attached('application/octet-stream; name=y.eml', 'Subject: y\n\nplain word'), true],
    [
      attached('message/rfc822', 'Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nword'),
      false,
    ],
    [attached('message/rfc822', 'Content-Type: multipart/mixed; boundary=i\n\nword'), false],
  ] as const
  for (const [mail, whole] of cases) {
    t.match(await textOf(mail), { textWhole: whole, malformed: false }, mail)
  }
  t.ok(
    (await textOf(attached('application/octet-stream; name=y.eml', 'Subject: y\n\nplain word'))).text.contains(
      'plain word',
    ),
  )
})

t.test('every Subject is looked into', async (t) => {
  const { subject, tags, text } = await textOf('Subject:\nSubject: =?x-none?q?word 1?=\nSubject: [Secure] two\n\nx\n')
  t.equal(subject, 'word 1 [Secure] two')
  t.strictSame(tags, ['secure'])
  t.ok(text.contains('word 1'))
})

t.test('a file that is no text leaves the room to the texts', async (t) => {
  const data = Buffer.alloc(1_000_000, 1).toString('base64').replace(/.{76}/g, '$&\n')
  const files = [1, 2, 3].map(
    (n) => `--m\nContent-Type: application/octet-stream; name=f${n}\nContent-Transfer-Encoding: base64\n\n${data}\n`,
  )
  const { text, textWhole } = await textOf(
    `Subject: x\nContent-Type: multipart/mixed; boundary=m\n\n${files.join('')}--m\n\nthe last word\n--m--\n`,
  )
  t.ok(text.contains('the last word'))
  t.equal(textWhole, true)
})

t.test('a text in a scratch file is read as one in memory', async (t) => {
  const writer = createContentWriter(t.testdir(), createRoom(0))
  const filler = `${'0123456789abcdef'.repeat(4)}\r\n`.repeat(20_000)
  const mail = `Subject: x\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: image/png; name=x.png\r\n\r\n${filler}\r\n--m\r\n\r\nthe last word\r\n--m--\r\n`
  await writer.write(Buffer.from(mail))
  const content = await writer.finish()
  if (content === null) throw new Error('the header is too large')
  t.equal(content.octets, null)
  t.ok((await readFacts(content, null, policy)).text.contains('the last word'))
  await content.discard()
})

t.test('patterns in a long text leave time for other mail, and end with the deadline', async (t) => {
  const content = readMemory(Buffer.from(`Subject: x\r\n\r\n${'nothing to be found here\r\n'.repeat(40_000)}`))
  if (content === null) throw new Error('the header is too large')
  const asking = { ...policy, reads: { ...reads, patterns: ['(?i)secret (one|two)', '[0-9]{4}x'] } }
  let turns = 0
  let done = false
  const others = (async () => {
    while (!done) {
      await setImmediate()
      turns += 1
    }
  })()
  const found = await readFacts(content, null, asking)
  done = true
  await others
  t.ok(turns > 10)
  t.equal(found.text.matches('[0-9]{4}x'), false)
  const late = AbortSignal.abort(new Error('out of time'))
  await t.rejects(readFacts(content, null, asking, { deadline: late }), { message: 'out of time' })
})

t.test('HTML becomes the text that a reader sees', async (t) => {
  const cases = [
    ['<p>one</p><p>two</p>', '\none\n\ntwo\n'],
    ['a<b>b</b>c', 'abc'],
    ['4111\r\n1111', '4111 1111'],
    ['a&nbsp;&amp;&lt;&#65;&#x42;&unknown;&#9999999;', 'a &<AB&unknown;&#9999999;'],
    ['<a title="a > b">link</a>', 'link'],
    ["<a title='\">'>link</a>", 'link'],
    ['1 < 2 and <3', '1 < 2 and <3'],
    ['<style>p{}</style>x<SCRIPT>y</Script >z', 'xz'],
    ['x<!-- y --> z <!-- never closed', 'x z '],
    ['x<script>never closed', 'x'],
    ['x<a never closed', 'x<a never closed'],
    ['<!DOCTYPE html><?xml?>x', 'x'],
    ['<p ">one</p "><a x=y">two</a =">', '\none\ntwo'],
    ['<a x = "a > b" y=\'>\'/z>one</a>', 'one'],
    ['<!-->one<!-- --><!--->two<!-- -->', 'onetwo'],
    ['<!-- x --!>one<!-- -->', 'one'],
    ['<!x ">one<b "><?x ">two<b "></?">three<b ">', 'onetwothree'],
    ['<style-x>one</style-x>', 'one'],
    ['4111&ensp;1111&thinsp;1111&#00000000000032;1111&nbspand', '4111 1111 1111 1111 and'],
  ] as const
  for (const [html, text] of cases) t.equal(htmlText(html), text, html)
})

t.test('a megabyte of hostile HTML is read soon', async (t) => {
  for (const piece of ['<', '<a "', '<a ">', '<a \'>"', '<!--', '<script>', '&', '&#', '<p>', '</', '<a\n']) {
    const started = performance.now()
    htmlText(piece.repeat(1_048_576 / piece.length))
    t.ok(performance.now() - started < 2000, piece)
  }
})

t.test('hostile mail is bounded when everything is asked of it, and other mail has its turn', async (t) => {
  const asking = { ...policy, reads: { ...reads, kinds: true, contents: true, patterns: ['(?i)secret word'] } }
  const head = 'Content-Type: multipart/mixed; boundary=b\r\n\r\n'
  const coded = (encoding: string) =>
    `${head}--b\r\nContent-Type: text/plain; name=x\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`
  const mails = {
    'a million parts': head + '--b\r\n\r\nx\r\n'.repeat(1_000_000),
    'messages in messages': `Content-Type: message/rfc822\r\n\r\n`.repeat(200_000),
    'many lines like delimiters': `${head}--b\r\n\r\n${'--x\r\n'.repeat(19_000)}${'x'.repeat(9_000_000)}`,
    'quoted-printable without end': coded('quoted-printable') + '=\t'.repeat(4_000_000),
    'base64 that is nothing but padding': coded('base64') + '='.repeat(8_000_000),
    'tags without end': `Content-Type: text/html\r\n\r\n${'<a "'.repeat(2_000_000)}`,
    'archives in one archive':
      coded('binary').replace('text/plain', 'application/zip') + 'PK\x03\x04'.repeat(2_000_000),
  }
  for (const [name, mail] of Object.entries(mails)) {
    const writer = createContentWriter(t.testdir(), createRoom(0))
    await writer.write(Buffer.from(mail, 'latin1'))
    const content = await writer.finish()
    if (content === null) throw new Error('the header is too large')
    const started = performance.now()
    await readFacts(content, null, asking)
    t.ok(performance.now() - started < 4000, name)
    await content.discard()
  }
})
