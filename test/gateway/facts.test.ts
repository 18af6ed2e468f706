import fc from 'fast-check'
import t from 'tap'
import { parseAddressList } from '../../gateway/address-list.ts'
import { readFacts } from '../../gateway/facts.ts'
import { createContentWriter, readMemory } from '../../gateway/intake.ts'
import { createRoom } from '../../gateway/room.ts'
import { parseAddress } from '../../protocol/identifiers.ts'
import type { OutboundReads } from '../../rulebook/index.ts'
import { readCorpus } from './corpus.ts'

const NOTHING_MORE: OutboundReads = { kinds: false, contents: false, text: false, patterns: [], scanRules: [] }

async function facts(text: string | Buffer, sender: string | null = 'anna@acme.example', reads = NOTHING_MORE) {
  const octets = typeof text === 'string' ? Buffer.from(text.replace(/\r?\n/g, '\r\n')) : text
  const content = readMemory(octets)
  if (content === null) throw new Error('the header is too large')
  const address = sender === null ? null : parseAddress(sender)
  return readFacts(content, address === null ? null : { address, mailbox: address }, {
    domains: ['acme.example'],
    reads,
  })
}

t.test('an ordinary mail', async (t) => {
  const found = await facts(`From: "Anna, Sales" <Anna@Acme.example>
To: kunde@example.org
Subject: [Secure] =?utf-8?q?gr=C3=BC=C3=9Fe?= =?utf-8?b?IGF1cw==?= [ttl:7d]
Message-ID: <1@acme.example>
Content-Type: multipart/mixed; boundary="b 1"

preamble
--b 1
Content-Type: text/plain

hello
--b 1
Content-Type: application/pdf; name="offer.pdf"
Content-Disposition: attachment; filename*0*=utf-8''Angebot%20f%C3%BCr; filename*1=" Kunde.pdf"
Content-Transfer-Encoding: base64

AAAA
--b 1
Content-Type: message/rfc822

From: x@example.org
Content-Type: multipart/mixed; boundary=inner

--inner
Content-Type: application/evil; name=hidden.exe

--inner--
--b 1--
epilogue
`)
  t.equal(found.sender, 'anna@acme.example')
  t.equal(found.senderDomain, 'acme.example')
  t.strictSame(found.from, ['anna@acme.example'])
  t.equal(found.foreignFrom, false)
  t.equal(found.subject, '[Secure] grüße aus [ttl:7d]')
  t.strictSame(found.tags, ['secure', 'ttl:7d'])
  t.equal(found.ttlWish, 7 * 86_400)
  t.strictSame(
    found.attachments.map(({ name, type }) => ({ name, type })),
    [
      { name: 'Angebot für Kunde.pdf', type: 'application/pdf' },
      { name: '', type: 'message/rfc822' },
      { name: 'hidden.exe', type: 'application/evil' },
    ],
  )
  t.strictSame(found.headers['message-id'], ['<1@acme.example>'])
  t.equal(found.malformed, false)
  for (const flag of ['nullSender', 'report', 'autoReply', 'list', 'signed', 'encrypted'] as const)
    t.equal(found[flag], false, flag)
  t.equal(found.calendar, '')
})

t.test('clear text with one encrypted attachment is not taken for encrypted', async (t) => {
  const mixed = [
    'From: anna@acme.example',
    'Content-Type: multipart/mixed; boundary=b',
    '',
    '--b',
    '',
    'readable by anyone',
    '--b',
    'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m',
    'Content-Disposition: attachment; filename=smime.p7m',
    '',
    '--b--',
    '',
  ].join('\n')
  t.match(await facts(mixed), { encrypted: false })
})

t.test('a mail is encrypted with PGP only if nothing else is in it', async (t) => {
  const encrypted = (...types: readonly string[]) =>
    `From: anna@acme.example\nContent-Type: multipart/encrypted; boundary=b\n\n${types.map((type) => `--b\nContent-Type: ${type}\n\nx\n`).join('')}--b--\n`
  const pgp = ['application/pgp-encrypted', 'application/octet-stream; name=encrypted.asc']
  t.match(await facts(encrypted(...pgp)), { encrypted: true })
  t.match(await facts(encrypted(...pgp, 'text/plain')), { encrypted: false })
  t.match(await facts(encrypted('text/plain')), { encrypted: false })
  t.match(await facts(encrypted('text/plain', 'text/plain')), { encrypted: false })
})

t.test('what marks a mail as not an ordinary one', async (t) => {
  const cases = [
    ['Content-Type: multipart/report; report-type=delivery-status; boundary=b', { report: true }],
    ['Auto-Submitted: auto-replied', { autoReply: true }],
    ['Auto-Submitted: no', { autoReply: false }],
    ['Auto-Submitted: auto-generated', { autoReply: false }],
    ['X-Auto-Response-Suppress: All', { autoReply: false }],
    ['Precedence: auto_reply', { autoReply: true }],
    ['Precedence: list', { list: true }],
    ['List-Id: <x.acme.example>', { list: true }],
    ['Content-Type: text/calendar; method=REPLY', { calendar: 'reply' }],
    ['Content-Type: text/calendar', { calendar: 'publish' }],
    ['Content-Type: multipart/signed; boundary=b', { signed: true, encrypted: false }],
    ['Content-Type: application/pkcs7-mime; smime-type=signed-data', { signed: true, encrypted: false }],
    ['Content-Type: application/pkcs7-mime; smime-type=enveloped-data', { signed: false, encrypted: true }],
    ['Content-Type: application/pkcs7-mime; name=smime.p7m', { encrypted: false }],
    ['Content-Type: multipart/encrypted; boundary=b', { encrypted: false }],
    ['Content-Type: application/pkcs7-mime; smime-type=enveloped-data\nContent-Type: text/plain', { encrypted: false }],
    ['Sealpost-TTL: 2h\nSubject: [ttl:7d]', { ttlWish: 7200 }],
    ['Sealpost-TTL: soon', { ttlWish: 0 }],
  ] as const
  for (const [header, expected] of cases)
    t.match(await facts(`From: anna@acme.example\n${header}\n\nbody\n`), expected, header)
  t.match(await facts('From: anna@acme.example\n\nbody\n', null), { nullSender: true, sender: '', senderDomain: '' })
})

t.test('From is ours only if every address in it is', async (t) => {
  const cases = [
    ['From: anna@acme.example', false],
    ['From: Anna <anna@ACME.example>, bert@acme.example', false],
    ['From: x@example.org', true],
    ['From: anna@acme.example, x@example.org', true],
    ['From: anna@acme.example\nFrom: x@example.org', true],
    ['From: "anna@acme.example" <x@example.org>', true],
    ['From: anna@acme.example <x@example.org>', true],
    ['From: =?utf-8?q?anna=40acme.example?=', true],
    ['From: us: anna@acme.example, bert@acme.example;', false],
    ['From: us:;', true],
    ['From: anna@acme.example.', false],
    ['From: <anna@acme.example', true],
    ['From: anna@acme.example@example.org', true],
    ['Subject: none at all', true],
    ['From: (a comment) anna (another (nested)) @ acme.example', false],
    ['From: "anna"@acme.example', false],
  ] as const
  for (const [header, foreign] of cases) t.equal((await facts(`${header}\n\nbody\n`)).foreignFrom, foreign, header)
})

t.test('what is no MIME is said to be malformed, and the rest is still read', async (t) => {
  const cases = [
    'Content-Type: multipart/mixed',
    'Content-Type: multipart/mixed; boundary=never',
    'Content-Type: ;;;',
    'Content-Type: text/plain\nContent-Type: text/html',
    'From someone today',
  ]
  for (const header of cases) {
    const found = await facts(`Subject: [tag] x\n${header}\n\nbody\n`)
    t.equal(found.malformed, true, header)
    t.strictSame(found.tags, ['tag'])
  }
})

t.test('hostile nesting ends soon and is called malformed', async (t) => {
  const nested = '--a\nContent-Type: multipart/mixed; boundary=a\n\n'
  const bodies = [
    '--a\n\n'.repeat(150_000),
    nested.repeat(15_000),
    '--b\n'.repeat(200_000),
    `${'--a'.repeat(300_000)}\n`,
  ]
  for (const body of bodies) {
    const header = `From: ${'(<@'.repeat(9000)}\nSubject: ${'=?a?b?'.repeat(20_000)}${'['.repeat(50_000)}\n`
    const started = performance.now()
    const found = await facts(`${header}Content-Type: multipart/mixed; boundary=a\n\n${body}`)
    t.ok(performance.now() - started < 1000)
    t.equal(found.malformed, true)
  }
})

t.test('whatever the octets are, there are facts', async () => {
  const piece = fc.constantFrom(
    '\r\n',
    '--a',
    '--a--',
    'Content-Type: ',
    'multipart/mixed; boundary=a',
    '"',
    '=?utf-8?q?',
    ';',
    'From: ',
    '<',
    '(',
    '\0',
    'x@y',
  )
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(piece, fc.string({ maxLength: 5 })), { maxLength: 40 }), async (parts) => {
      await facts(Buffer.from(parts.join('')))
    }),
    { numRuns: 500 },
  )
  await fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom('"', '<', '>', '(', ')', ',', ':', ';', '@', 'a', '.', '\\', ' '),
        maxLength: 40,
      }),
      (text) => {
        parseAddressList(text)
      },
    ),
    { numRuns: 1000 },
  )
})

t.test('parts are found in a scratch file as in memory', async (t) => {
  const filler = `${'0123456789abcdef'.repeat(4)}\r\n`.repeat(4100)
  const part = (n: number) => `--edge\r\nContent-Type: application/x-${n}; name=f${n}\r\n\r\n${filler}`
  const message = `From: anna@acme.example\r\nContent-Type: multipart/mixed; boundary=edge\r\n\r\n${[1, 2, 3, 4, 5, 6].map(part).join('')}--edge--\r\n`
  const writer = createContentWriter(t.testdir(), createRoom(0))
  await writer.write(Buffer.from(message))
  const content = await writer.finish()
  if (content === null) throw new Error('the header is too large')
  t.equal(content.octets, null)
  const found = await readFacts(content, null, { domains: ['acme.example'], reads: NOTHING_MORE })
  t.strictSame(
    found.attachments.map(({ name }) => name),
    ['f1', 'f2', 'f3', 'f4', 'f5', 'f6'],
  )
  await content.discard()
})

const corpus = readCorpus()
t.test(
  'every message of the shared corpus has facts, soon',
  { skip: corpus === null && 'shared/ absent: skipped' },
  async (t) => {
    for (const { name, octets } of corpus ?? []) {
      const started = performance.now()
      await facts(octets)
      t.ok(performance.now() - started < 500, name)
    }
  },
)
