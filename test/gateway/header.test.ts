import t from 'tap'
import {
  FIELD_LIMIT,
  fieldsOf,
  fieldValue,
  findHeaderEnd,
  parseHeader,
  reachesNoRecipient,
} from '../../gateway/header.ts'

const octets = (text: string) => Buffer.from(text, 'latin1')
const rawOf = (text: string) =>
  parseHeader(octets(text))
    ?.fields.map((field) => Buffer.from(field.raw).toString('latin1'))
    .join('')

t.test('the fields together are the header, octet for octet, whatever stands in it', (t) => {
  const headers = [
    'A: b\r\nC:d\r\n',
    'Subject: one\r\n two\r\n\tthree\r\nTo: x\r\n',
    ' starts with a fold\r\nA: b\r\n',
    'From someone today\r\nno colon here\r\n: empty name\r\nA : obsolete\r\n',
    '\x00\xff\x80: \xfe\r\nB: \x01\r\n',
    'A: b\nC: d\n',
  ]
  for (const header of headers) t.equal(rawOf(`${header}\r\nbody: no\r\n`), header, JSON.stringify(header))
  t.equal(rawOf('A: no empty line\r\nB: at all'), 'A: no empty line\r\nB: at all')
  t.end()
})

t.test('the body begins behind the first empty line', (t) => {
  for (const [text, end, body] of [
    ['A: b\r\n\r\nx', 6, 8],
    ['\r\nx', 0, 2],
    ['A: b\n\nx', 5, 6],
    ['A: b\r\n', 6, 6],
    ['', 0, 0],
  ] as const) {
    const header = parseHeader(octets(text))
    t.strictSame([header?.end, header?.bodyStart], [end, body], JSON.stringify(text))
  }
  t.end()
})

t.test('the end is found in pieces as in the whole', (t) => {
  const text = octets('A: b\r\nC: d\r\n e\r\n\r\nbody\r\n\r\n')
  for (let length = 1; length <= text.length; length++) {
    const found = findHeaderEnd(text.subarray(0, length), Math.max(0, length - 4))
    if (length === 18) t.equal(found, 16)
    if (length < 18) t.equal(found, -1)
  }
  t.end()
})

t.test('values are unfolded and decoded as UTF-8 where they are', (t) => {
  const header = parseHeader(Buffer.from('Subject:  Grüße\r\n aus\r\n Köln \r\nX: a\r\n'))
  t.equal(header && fieldValue(header, 'SUBJECT'), 'Grüße aus Köln')
  const latin = parseHeader(octets('Subject: Gr\xfc\xdfe\r\n\r\n'))
  t.equal(latin && fieldValue(latin, 'subject'), 'Grüße', 'Latin-1 where it is no UTF-8')
  t.equal(header && fieldValue(header, 'absent'), null)
  t.end()
})

t.test('a field is known by any case and with space before its colon', (t) => {
  const header = parseHeader(octets('BCC : a\r\nbcc: b\r\nBc c: c\r\n\r\n'))
  t.strictSame(header && fieldsOf(header, 'Bcc').map((field) => field.value), ['a', 'b'])
  t.end()
})

t.test('too many fields are no header', (t) => {
  t.ok(parseHeader(octets('a: b\r\n'.repeat(FIELD_LIMIT))))
  t.equal(parseHeader(octets('a: b\r\n'.repeat(FIELD_LIMIT + 1))), null)
  t.end()
})

t.test('what must reach no recipient', (t) => {
  for (const key of [
    'bcc',
    'resent-bcc',
    'sealpost-tenant',
    'x-sealpost-tenant',
    'sealpost-handled',
    'x-ms-exchange-organization-scl',
  ]) {
    t.ok(reachesNoRecipient(key), key)
  }
  for (const key of ['to', 'cc', 'subject', 'x-ms-exchange-transport', 'bccx', ''])
    t.notOk(reachesNoRecipient(key), key)
  t.end()
})
