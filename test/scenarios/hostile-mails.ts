/** Mails that are made to hurt whoever reads them: MIME and headers as no honest program writes them. */
export type HostileMail = {
  readonly name: string
  readonly octets: () => Buffer
  /** The answer that it must get; accepted if absent. */
  readonly answer?: RegExp
}

const KB = 1024
const MB = 1024 * KB

const from = 'From: anna@acme.example\r\n'
const text = (header: string, body = 'a line\r\n') => Buffer.from(`${header}\r\n${body}`, 'latin1')
const multipart = (boundary: string) => `${from}Content-Type: multipart/mixed; boundary=${boundary}\r\n`

/** Octets of every value but CR and LF, the same at every run. */
function anything(length: number, seed: number): string {
  const octets = Buffer.alloc(length)
  let state = seed
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    const octet = (state >>> 16) & 0xff
    octets[at] = octet === 10 || octet === 13 ? 0 : octet
  }
  return octets.toString('latin1')
}

const lines = (count: number, line: (n: number) => string) => Array.from({ length: count }, (_, n) => line(n)).join('')

const nested: readonly HostileMail[] = [
  {
    name: 'multiparts nested 10,000 deep',
    octets: () =>
      text(
        multipart('b0'),
        lines(10_000, (n) => `--b${n}\r\nContent-Type: multipart/mixed; boundary=b${n + 1}\r\n\r\n`),
      ),
  },
  {
    name: 'multiparts nested 10,000 deep in one boundary',
    octets: () =>
      text(
        multipart('b'),
        lines(10_000, () => '--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n'),
      ),
  },
  {
    name: 'messages in messages 10,000 deep',
    octets: () =>
      text(`${from}Content-Type: message/rfc822\r\n`, 'Content-Type: message/rfc822\r\n\r\n'.repeat(10_000)),
  },
  {
    name: 'a million parts',
    octets: () => text(multipart('b'), `${'--b\r\n\r\nx\r\n'.repeat(1_000_000)}--b--\r\n`),
  },
  { name: 'a million delimiters', octets: () => text(multipart('b'), '--b\r\n'.repeat(1_000_000)) },
  {
    name: 'a million attachments by name',
    octets: () =>
      text(
        multipart('b'),
        lines(400_000, (n) => `--b\r\nContent-Disposition: attachment; filename=${n}\r\n\r\n`),
      ),
  },
  {
    name: 'five million lines that begin like a delimiter',
    octets: () => text(multipart('b'), '--\r\n'.repeat(5_000_000)),
  },
]

const boundaries: readonly HostileMail[] = [
  {
    name: 'boundaries that are prefixes of each other',
    octets: () =>
      text(
        multipart('b'),
        '--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\nContent-Type: multipart/mixed; boundary="b-"\r\n\r\n--b-\r\n\r\none\r\n--b---\r\n--bb--\r\n--b--\r\n--bbb\r\n',
      ),
  },
  {
    name: 'a boundary inside the header of a part',
    octets: () =>
      text(multipart('b'), '--b\r\nContent-Type: text/plain;\r\n--b\r\n--b--\r\n name=x\r\n\r\none\r\n--b--\r\n'),
  },
  { name: 'a boundary that never comes', octets: () => text(multipart('never'), 'one\r\n'.repeat(100_000)) },
  {
    name: 'a multipart that never ends',
    octets: () => text(multipart('b'), `--b\r\n\r\n${'one\r\n'.repeat(100_000)}`),
  },
  { name: 'an empty boundary', octets: () => text(multipart('""'), '--\r\n\r\none\r\n----\r\n') },
  {
    name: 'a boundary of 10 KB',
    octets: () => text(multipart('x'.repeat(10 * KB)), `--${'x'.repeat(10 * KB)}\r\n\r\none\r\n`.repeat(300)),
  },
  {
    name: 'a boundary of every octet',
    octets: () => text(multipart(`"${anything(70, 3)}"`), `--${anything(70, 3)}\r\n\r\n`),
  },
  {
    name: 'a boundary that is an expression',
    octets: () => text(multipart('"(a+)+$"'), `--${'a'.repeat(50_000)}!\r\n`),
  },
]

const fields: readonly HostileMail[] = [
  {
    name: 'a header of 10 MB in one line',
    octets: () => text(`${from}X: ${'x'.repeat(10 * MB)}\r\n`),
    answer: /^552 5\.3\.4 /,
  },
  {
    name: 'a header of 10 MB, folded',
    octets: () => text(`${from}X:${'\r\n x'.repeat(2.5 * MB)}\r\n`),
    answer: /^552 5\.3\.4 /,
  },
  {
    name: '100,000 header fields',
    octets: () => text(`${from}${'X: y\r\n'.repeat(100_000)}`),
    answer: /^552 5\.3\.4 /,
  },
  {
    name: '4,900 fields that are kept',
    octets: () => text(`${from}${lines(4_900, (n) => `List-${n}: ${'v'.repeat(150)}\r\n`)}`),
  },
  { name: '4,900 fields From', octets: () => text(lines(4_900, (n) => `From: "${n}" <anna${n}@acme.example>\r\n`)) },
  { name: 'a name with 900 KB of spaces in it', octets: () => text(`${from}X${' '.repeat(900 * KB)}Y: z\r\n`) },
  { name: 'a value of 900 KB of spaces', octets: () => text(`${from}Subject: a${' '.repeat(900 * KB)}b\r\n`) },
  {
    name: 'a value of 200,000 empty folds',
    octets: () => text(`${from}Subject: a${'\r\n '.repeat(200_000)}b\r\nReferences:${'\r\n\t'.repeat(100_000)}<x>\r\n`),
  },
  {
    name: 'a Message-ID of 100 KB',
    octets: () => text(`${from}Message-ID: <${'m'.repeat(100 * KB)}@acme.example>\r\n`),
  },
  { name: 'References of 900 KB', octets: () => text(`${from}References: ${'<a@b> '.repeat(150 * KB)}\r\n`) },
  { name: 'a Subject of 900 KB without a space', octets: () => text(`${from}Subject: ${'s'.repeat(900 * KB)}\r\n`) },
  { name: 'a Date of 500 KB', octets: () => text(`${from}Date: ${'Sun, '.repeat(100 * KB)}\r\n`) },
  {
    name: '8-bit octets and NULs everywhere',
    octets: () =>
      text(
        lines(
          300,
          (n) =>
            `${anything(40, n)}: ${anything(400, n + 1)}\r\nSubject: ${anything(90, n)}\r\nTo: ${anything(90, n)}\r\nFrom: ${anything(90, n)}\r\n`,
        ),
        `${anything(5 * MB, 7)}\r\n`,
      ),
  },
  { name: 'lines without a colon', octets: () => text(`${from}${'no colon here\r\n'.repeat(4_000)}`) },
  { name: 'no header at all', octets: () => text('', anything(1000, 5).concat('\r\n')) },
]

const to = (value: string) => text(`${from}To: ${value}\r\nCc: ${value.slice(0, 1000)}\r\n`)

const addresses: readonly HostileMail[] = [
  { name: 'To with 900 KB of addresses', octets: () => to(lines(30_000, (n) => `"n ${n}" <a${n}@b.example>, `)) },
  { name: 'To with one name of 900 KB', octets: () => to(`${'n '.repeat(450 * KB)}<a@b.example>`) },
  { name: 'To with a quote that does not end', octets: () => to(`"${'q\\'.repeat(400 * KB)}`) },
  { name: 'To with 400,000 open comments', octets: () => to(`${'('.repeat(400_000)}a@b.example`) },
  { name: 'To with 400,000 open brackets', octets: () => to(`${'<'.repeat(400_000)}a@b.example`) },
  { name: 'To with 900,000 commas', octets: () => to(','.repeat(900_000)) },
  { name: 'To with 400,000 groups', octets: () => to('g:'.repeat(400_000)) },
  { name: 'To with 400,000 signs of at', octets: () => to(`a${'@'.repeat(400_000)}b`) },
  {
    name: 'To with 8-bit names',
    octets: () => to(lines(20_000, (n) => `gr\xc3\xbc\xc3\x9f${n} <\xc3\xbc${n}@b\xc3\xbc.example>, `)),
  },
  { name: 'From with 60 KB of comments', octets: () => text(`From: ${'(a(b)'.repeat(12_000)} anna@acme.example\r\n`) },
  { name: 'From with 60 KB of quotes', octets: () => text(`From: ${'"\\'.repeat(30_000)} <anna@acme.example>\r\n`) },
  {
    name: 'From with 60 KB of source route',
    octets: () => text(`From: <${'@a,'.repeat(20_000)}:anna@acme.example>\r\n`),
  },
]

const word = '=?utf-8?B?w7w=?= '

const words: readonly HostileMail[] = [
  {
    name: '50,000 encoded words',
    octets: () => text(`${from}Subject: ${word.repeat(50_000)}\r\nTo: ${word.repeat(2_000)}<b@b.example>\r\n`),
  },
  { name: 'encoded words that never end', octets: () => text(`${from}Subject: ${'=?utf-8?Q?'.repeat(80_000)}\r\n`) },
  {
    name: 'encoded words in made-up charsets',
    octets: () => text(`${from}Subject: ${lines(20_000, (n) => `=?x-${n}?Q?a?= `)}\r\n`),
  },
  { name: 'question marks', octets: () => text(`${from}Subject: =${'?'.repeat(800_000)}=\r\n`) },
  {
    name: 'an encoded word with line ends',
    octets: () => text(`${from}Subject: ${'=?utf-8?Q?a=0D=0ABcc:_eve@evil.example?= '.repeat(5_000)}\r\n`),
  },
  {
    name: 'names continued a thousand times',
    octets: () =>
      text(
        multipart('b'),
        `--b\r\nContent-Type: text/plain${lines(3_000, (n) => `;\r\n name*${n}*=a%20`)}\r\nContent-Disposition: attachment${lines(3_000, (n) => `;\r\n filename*${2_999 - n}=b`)}\r\n\r\nx\r\n`.repeat(
          50,
        ),
      ),
  },
  {
    name: 'parameters that open quotes',
    octets: () => text(`${from}Content-Type: text/plain; ${'a="\\'.repeat(3_000)}\r\n`),
  },
  {
    name: 'a Content-Type of 900 KB',
    octets: () =>
      text(`${from}Content-Type: multipart/mixed; ${'a=b; '.repeat(180 * KB)}boundary=b\r\n`, '--b\r\n\r\n'),
  },
]

const bodies: readonly HostileMail[] = [
  {
    name: 'base64 of 15 MB of nothing',
    octets: () => text(`${from}Content-Transfer-Encoding: base64\r\n`, `${'A'.repeat(76)}\r\n`.repeat(260_000)),
  },
  {
    name: 'base64 in a line of 20 MB',
    octets: () => text(`${from}Content-Transfer-Encoding: base64\r\n`, `${'A'.repeat(20 * MB)}\r\n`),
  },
  {
    name: 'soft line breaks and nothing else',
    octets: () => text(`${from}Content-Transfer-Encoding: quoted-printable\r\n`, '=\r\n'.repeat(2_000_000)),
  },
  {
    name: 'equals signs and nothing else',
    octets: () => text(`${from}Content-Transfer-Encoding: quoted-printable\r\n`, `${'='.repeat(5 * MB)}\r\n`),
  },
  { name: 'five million empty lines', octets: () => text(from, '\r\n'.repeat(5_000_000)) },
  { name: 'four million lines of one dot', octets: () => text(from, '.\r\n'.repeat(4_000_000)) },
  {
    name: 'HTML of a million open tags',
    octets: () => text(`${from}Content-Type: text/html\r\n`, `${'<b>'.repeat(1_000_000)}\r\n`),
  },
  {
    name: 'a million entities',
    octets: () => text(`${from}Content-Type: text/html; charset=utf-7\r\n`, `${'&#x26;'.repeat(1_000_000)}\r\n`),
  },
]

export const hostileMails: readonly HostileMail[] = [
  ...nested,
  ...boundaries,
  ...fields,
  ...addresses,
  ...words,
  ...bodies,
]
