import { randomBytes } from 'node:crypto'

/** A mail whose bulk is base64 of random octets, so that no compression flatters; only its Message-ID differs from the next. */
export type BenchMail = {
  /** The octets before the Message-ID's number and after it, CRLF line ends, no line that begins with a full stop. */
  readonly before: Buffer
  readonly after: Buffer
  /** Octets of one mail, about. */
  readonly size: number
}

/** A multipart mail of about `size` octets from acme.example to one outside recipient. */
export function benchMail(size: number): BenchMail {
  const boundary = `b-${randomBytes(12).toString('hex')}`
  const before = ['From: Anna <anna@acme.example>', 'To: bob@example.org', 'Subject: Figures for the quarter'].join(
    '\r\n',
  )
  const top = [
    '@bench.acme.example>',
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    'MIME-Version: 1.0',
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
    '',
    `--${boundary}`,
    'Content-Type: text/plain; charset=utf-8',
    '',
    'Please find the figures attached.',
    '',
    `--${boundary}`,
    'Content-Type: application/octet-stream; name="figures.bin"',
    'Content-Disposition: attachment; filename="figures.bin"',
    'Content-Transfer-Encoding: base64',
    '',
    '',
  ].join('\r\n')
  const end = `\r\n--${boundary}--\r\n`
  const room = Math.max(0, size - before.length - top.length - end.length - 40)
  const lines = Math.ceil(room / 78)
  const bulk = randomBytes(lines * 57)
    .toString('base64')
    .replace(/.{76}/g, '$&\r\n')
  return {
    before: Buffer.from(`${before}\r\nMessage-ID: <`),
    after: Buffer.from(`${top}${bulk.slice(0, -2)}${end}`),
    size,
  }
}
