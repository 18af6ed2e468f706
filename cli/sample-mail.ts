import { randomUUID } from 'node:crypto'

/** One small mail with an attachment, as a mail program would send it: whole, CRLF line ends. */
export type SampleMail = {
  readonly sender: string
  readonly recipient: string
  readonly attachment: { readonly name: string; readonly text: string }
  readonly octets: Buffer
}

/** The mail that the demo sends, dated now and with a Message-ID of its own. */
export function sampleMail(now: Date): SampleMail {
  const attachment = {
    name: 'offer.csv',
    text: 'item,pieces,price\r\nlighthouse lamp,2,1480.00\r\nbrass bell,1,312.50\r\n',
  }
  const lines = [
    'From: Anna <anna@acme.example>',
    'To: Bob <bob@example.org>',
    'Subject: Our offer for the lighthouse',
    `Date: ${now.toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${randomUUID()}@acme.example>`,
    'MIME-Version: 1.0',
    'Content-Type: multipart/mixed; boundary="sample"',
    '',
    '--sample',
    'Content-Type: multipart/alternative; boundary="words"',
    '',
    '--words',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    'Dear Bob,',
    '',
    'here is our offer for the lamp and the bell. It stands until the end of the month.',
    'Please do not pass the prices on: they are for you alone.',
    '',
    'Kind regards — Anna',
    '',
    '--words',
    'Content-Type: text/html; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    '<p>Dear Bob,</p><p>here is our offer for <b>the lamp and the bell</b>. It stands until the end of the month.</p>',
    '<p>Please do not pass the prices on: they are for you alone.</p><p>Kind regards — Anna</p>',
    '',
    '--words--',
    '',
    '--sample',
    `Content-Type: text/csv; charset=utf-8; name="${attachment.name}"`,
    `Content-Disposition: attachment; filename="${attachment.name}"`,
    'Content-Transfer-Encoding: base64',
    '',
    Buffer.from(attachment.text).toString('base64').replace(/.{76}/g, '$&\r\n'),
    '--sample--',
    '',
  ]
  return {
    sender: 'anna@acme.example',
    recipient: 'bob@example.org',
    attachment,
    octets: Buffer.from(lines.join('\r\n')),
  }
}
