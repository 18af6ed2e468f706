import t, { type Test } from 'tap'
import type { Delivery, OutgoingMail } from '../../gateway/courier.ts'
import { createSmtpCourier, type SmtpCourierOptions } from '../../gateway/courier-smtp.ts'
import { type Script, startScriptedHop } from './scripted-hop.ts'

const text = 'Subject: hello\r\n\r\nline\r\n'

function mailOf(content: string | readonly Uint8Array[], extra: Partial<OutgoingMail> = {}): OutgoingMail {
  const chunks = typeof content === 'string' ? [Buffer.from(content, 'utf8')] : content
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  return {
    size,
    smtputf8: false,
    eightBit: false,
    async *open() {
      yield* chunks
    },
    ...extra,
  }
}

function deliveryOf(extra: Partial<Delivery> = {}): Delivery {
  return { sender: 'anna@acme.example', recipients: ['bo@example.org'], mail: mailOf(text), ...extra }
}

async function hopAndCourier(t: Test, script: Script = {}, options: Partial<SmtpCourierOptions> = {}) {
  const hop = await startScriptedHop(script)
  const courier = createSmtpCourier({ host: '127.0.0.1', port: hop.port, helo: 'gw.acme.example', ...options })
  t.teardown(async () => {
    await courier.close()
    await hop.close()
  })
  return { hop, courier }
}

t.test('a mail is sent with MAIL and RCPT in one write, and the content with its dot in another', async (t) => {
  const { hop, courier } = await hopAndCourier(t)
  const report = await courier.deliver(deliveryOf({ recipients: ['bo@example.org', 'cy@example.net'] }))
  t.same(
    report.results.map((result) => [result.recipient, result.outcome, result.code, result.enhanced, result.text]),
    [
      ['bo@example.org', 'sent', 250, '2.0.0', 'queued as 1'],
      ['cy@example.net', 'sent', 250, '2.0.0', 'queued as 1'],
    ],
  )
  t.ok(
    hop.reads.includes(
      'MAIL FROM:<anna@acme.example> SIZE=24\r\nRCPT TO:<bo@example.org>\r\nRCPT TO:<cy@example.net>\r\n',
    ),
  )
  t.ok(hop.reads.includes(`${text}.\r\n`))
  t.match(courier.capabilities(), {
    smtputf8: false,
    eightBitMime: true,
    pipelining: true,
    size: 50_000_000,
    tls: false,
  })
})
