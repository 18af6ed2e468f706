import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Delivery, OutgoingMail } from '../../gateway/courier.ts'
import { createSmtpCourier, type SmtpCourierOptions } from '../../gateway/courier-smtp.ts'
import { defaultTlsPolicy, type TlsPolicy } from '../../gateway/tls-policy.ts'
import { postfixAbsent, startPostfix } from '../scenarios/postfix.ts'
import { makeCertificate } from './certificate.ts'
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

t.test('a mail is sent with MAIL, RCPT and DATA in one write, and the content with its dot in another', async (t) => {
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
      'MAIL FROM:<anna@acme.example> SIZE=24\r\nRCPT TO:<bo@example.org>\r\nRCPT TO:<cy@example.net>\r\nDATA\r\n',
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

t.test('dots at the beginning of lines come through, whatever the chunks', async (t) => {
  const content = '.a\r\n..\r\nb.\r\n.\r\n\r\n.\r\n.'
  const { hop, courier } = await hopAndCourier(t)
  for (const step of [1, 2, 3, 5, 100]) {
    const octets = Buffer.from(content)
    const chunks = Array.from({ length: Math.ceil(octets.length / step) }, (_, i) =>
      octets.subarray(i * step, (i + 1) * step),
    )
    await courier.deliver(deliveryOf({ mail: mailOf(chunks) }))
    t.equal(hop.contents.at(-1), '..a\r\n...\r\nb.\r\n..\r\n\r\n..\r\n..\r\n.\r\n', `in pieces of ${step}`)
  }
})

t.test('a next hop that hangs up for the many whom it refused takes the rest on another connection', async (t) => {
  const refused = new Map<number, number>()
  for (const ehlo of [['PIPELINING'], []]) {
    refused.clear()
    const { hop, courier } = await hopAndCourier(t, {
      ehlo: ['SIZE', ...ehlo],
      answer(command, connection, socket) {
        if (!command.startsWith('RCPT TO:<bad')) return undefined
        const count = (refused.get(connection) ?? 0) + 1
        refused.set(connection, count)
        if (count <= 5) return '550 5.1.1 nobody\r\n'
        setImmediate(() => socket.destroy())
        return '421 4.7.0 too many errors\r\n'
      },
    })
    const recipients = Array.from({ length: 30 }, (_, i) => `${i % 2 === 0 ? 'bad' : 'good'}${i}@example.org`)
    const { results } = await courier.deliver(deliveryOf({ recipients }))
    t.same(
      results.map(({ recipient, outcome, code }) => [recipient, outcome, code]),
      recipients.map((one) => (one.startsWith('bad') ? [one, 'failed', 550] : [one, 'sent', 250])),
    )
    t.ok(hop.contents.length <= 5, 'in a few mails')
  }
})

t.test(
  'Postfix, which hangs up after twenty unknown users, gets the mail for the others',
  { skip: postfixAbsent() },
  async (t) => {
    const of = (who: string) => Array.from({ length: 25 }, (_, i) => `${who}${i}@example.org`)
    const refuse = Object.fromEntries(of('bad').map((one) => [one, '550 5.1.1 no such user']))
    const postfix = await startPostfix({ refuse, extra: { smtpd_error_sleep_time: '0' } })
    const courier = createSmtpCourier({ host: '127.0.0.1', port: postfix.port, helo: 'gw.acme.example' })
    try {
      const { results } = await courier.deliver(deliveryOf({ recipients: [...of('bad'), ...of('good')] }))
      const outcomes = results.map(({ outcome }) => outcome)
      t.same(outcomes, [...of('bad').map(() => 'failed'), ...of('good').map(() => 'sent')])
    } finally {
      await courier.close()
      await postfix.stop()
    }
  },
)

t.test('a mail that nobody waits for may take longer than the budget, while the next hop goes on', async (t) => {
  const server = createServer((socket) => {
    const say = (text: string) => setTimeout(() => socket.writable && socket.write(text), 450)
    socket.on('error', () => socket.destroy())
    socket.on('data', (octets) => say(`${/^DATA/.test(octets.toString()) ? 354 : 250} go on\r\n`))
    say('220 slow.example\r\n')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const courier = createSmtpCourier({ host: '127.0.0.1', port, helo: 'gw.acme.example', budgetMs: 2_000 })
  t.teardown(async () => {
    await courier.close()
    server.close()
  })
  t.match((await courier.deliver(deliveryOf())).results, [
    { outcome: 'deferred', text: 'the time for this delivery is up' },
  ])
  t.match((await courier.deliver(deliveryOf({ patient: true }))).results, [{ outcome: 'sent' }])
})

t.test('each recipient gets its own result, and the content goes to those accepted', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {
    answer: (command) => {
      if (command.includes('no@')) return '550-5.1.1 no such\r\n550 5.1.1 mailbox\r\n'
      return command.includes('later@') ? '451 4.2.1 try later\r\n' : undefined
    },
  })
  const { results } = await courier.deliver(
    deliveryOf({ recipients: ['no@example.org', 'bo@example.org', 'later@example.org'] }),
  )
  t.same(
    results.map(({ outcome, enhanced, text: words }) => [outcome, enhanced, words]),
    [
      ['failed', '5.1.1', 'no such mailbox'],
      ['sent', '2.0.0', 'queued as 1'],
      ['deferred', '4.2.1', 'try later'],
    ],
  )
  t.equal(hop.contents.length, 1)
})

t.test('if nobody is accepted no content leaves, and the connection serves the next mail after RSET', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {
    answer: (command) => (command.includes('no@') ? '550 5.1.1 no\r\n' : undefined),
  })
  const refused = await courier.deliver(deliveryOf({ recipients: ['no@example.org'] }))
  t.equal(refused.results[0]?.outcome, 'failed')
  t.same(hop.contents, [])
  const sent = await courier.deliver(deliveryOf())
  t.equal(sent.results[0]?.outcome, 'sent')
  t.ok(hop.commands.includes('RSET'))
  await courier.deliver(deliveryOf())
  t.equal(hop.commands.filter((command) => command === 'RSET').length, 1, 'no RSET after a clean mail')
  t.equal(hop.connections(), 1)
})

t.test('a next hop that wants content for nobody gets none, nor another word', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {
    answer: (command) => {
      if (command.includes('no@')) return '550 5.1.1 no\r\n'
      return command === 'DATA' && hop.commands.some((said) => said.includes('no@')) ? '354 go on\r\n' : undefined
    },
  })
  const refused = await courier.deliver(deliveryOf({ recipients: ['no@example.org'] }))
  t.match(refused.results, [{ outcome: 'failed', code: 550 }])
  await courier.deliver(deliveryOf())
  t.equal(hop.connections(), 2)
  t.equal(hop.contents.length, 1)
})

t.test('a refused MAIL is the result of every recipient', async (t) => {
  const { courier } = await hopAndCourier(t, {
    answer: (command) => (command.startsWith('MAIL') ? '550 5.7.1 not you\r\n' : undefined),
  })
  const { results } = await courier.deliver(deliveryOf({ recipients: ['a@example.org', 'b@example.org'] }))
  t.same(
    results.map((result) => [result.outcome, result.text]),
    [
      ['failed', 'not you'],
      ['failed', 'not you'],
    ],
  )
})

t.test('a next hop without PIPELINING is asked step by step', async (t) => {
  const { hop, courier } = await hopAndCourier(t, { ehlo: ['SIZE'] })
  const { results } = await courier.deliver(deliveryOf({ recipients: ['a@example.org', 'b@example.org'] }))
  t.ok(results.every((result) => result.outcome === 'sent'))
  t.ok(hop.reads.includes('MAIL FROM:<anna@acme.example> SIZE=24\r\n'))
  t.ok(hop.reads.includes('RCPT TO:<b@example.org>\r\n'))
})

t.test('a next hop that knows no EHLO is greeted with HELO', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {
    answer: (command) => (command.startsWith('EHLO') ? '502 what?\r\n' : undefined),
  })
  t.equal((await courier.deliver(deliveryOf())).results[0]?.outcome, 'sent')
  t.ok(hop.commands.includes('MAIL FROM:<anna@acme.example>'))
})

t.test('an answer lost after the content is unknown, and nothing is sent again', async (t) => {
  const { hop, courier } = await hopAndCourier(t, { content: () => null })
  const { results } = await courier.deliver(deliveryOf())
  t.match(results, [{ outcome: 'unknown', remote: false }])
  t.equal(hop.contents.length, 1)
  t.equal(hop.connections(), 1)
})

t.test('a refusal of the content counts for those accepted', async (t) => {
  for (const [reply, outcome] of [
    ['554 5.6.0 no\r\n', 'failed'],
    ['452 4.3.1 full\r\n', 'deferred'],
  ] as const) {
    const { courier } = await hopAndCourier(t, { content: () => reply })
    t.equal((await courier.deliver(deliveryOf())).results[0]?.outcome, outcome)
  }
})

t.test('a kept connection that is found dead before the content is replaced once', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {
    answer: (command, connection) => (connection === 1 && command.includes('second@') ? null : undefined),
  })
  await courier.deliver(deliveryOf())
  const { results } = await courier.deliver(deliveryOf({ recipients: ['second@example.org'] }))
  t.equal(results[0]?.outcome, 'sent')
  t.equal(hop.connections(), 2)
  t.equal(hop.contents.length, 2)
})

t.test('a kept connection that says 421 is replaced, a fresh one that does is not', async (t) => {
  let mails = 0
  const { hop, courier } = await hopAndCourier(t, {
    answer: (command) => (command.startsWith('MAIL') && ++mails > 1 ? '421 4.7.0 too many mails\r\n' : undefined),
  })
  await courier.deliver(deliveryOf())
  const { results } = await courier.deliver(deliveryOf())
  t.match(results, [{ outcome: 'deferred' }])
  t.match(results[0]?.text, 'too many mails')
  t.equal(hop.connections(), 2)
})

t.test('a cut before the content defers, on a fresh connection without another try', async (t) => {
  const { hop, courier } = await hopAndCourier(t, { answer: (command) => (command === 'DATA' ? null : undefined) })
  t.match((await courier.deliver(deliveryOf())).results, [{ outcome: 'deferred', code: 421 }])
  t.equal(hop.connections(), 1)
})

t.test('where nobody listens, or the greeting is a refusal, everybody is deferred', async (t) => {
  const hop = await startScriptedHop()
  await hop.close()
  const courier = createSmtpCourier({ host: '127.0.0.1', port: hop.port, helo: 'gw.acme.example' })
  t.match((await courier.deliver(deliveryOf())).results, [{ outcome: 'deferred', enhanced: '4.4.1' }])
  await courier.close()
  for (const banner of [
    '554 5.3.2 closed\r\n',
    '421 4.3.2 later\r\n',
    'HTTP/1.1 400 Bad Request\r\n',
    `${'2'.repeat(9000)}`,
  ]) {
    const { courier: other } = await hopAndCourier(t, { banner })
    t.match((await other.deliver(deliveryOf())).results, [{ outcome: 'deferred', remote: false }], banner.slice(0, 20))
  }
})

t.test('a next hop that falls silent is given up within the budget', async (t) => {
  for (const [script, outcome] of [
    [{ banner: '' }, 'deferred'],
    [{ answer: (command: string) => (/^(RCPT|DATA)/.test(command) ? '' : undefined) }, 'deferred'],
    [{ content: () => '' }, 'unknown'],
  ] as const) {
    const { courier } = await hopAndCourier(t, script, { budgetMs: 300 })
    const started = performance.now()
    t.match((await courier.deliver(deliveryOf())).results, [{ outcome }])
    t.ok(performance.now() - started < 2_000)
  }
})

t.test('whoever waits can give up: deferred before the content, unknown after', async (t) => {
  const early = await hopAndCourier(t, { answer: (command) => (command === 'DATA' ? '' : undefined) })
  t.match((await early.courier.deliver(deliveryOf({ signal: AbortSignal.timeout(100) }))).results, [
    { outcome: 'deferred' },
  ])
  const late = await hopAndCourier(t, { content: () => '' })
  t.match((await late.courier.deliver(deliveryOf({ signal: AbortSignal.timeout(100) }))).results, [
    { outcome: 'unknown' },
  ])
  t.match((await late.courier.deliver(deliveryOf({ signal: AbortSignal.abort() }))).results, [{ outcome: 'deferred' }])
})

t.test('whoever gives up while every connection is busy, or greets slowly, has not sent anything', async (t) => {
  const slow: Script['answer'] = (command, connection, socket) => {
    if (connection > 1 || !command.startsWith('EHLO')) return undefined
    setTimeout(() => socket.write('250 hop.example\r\n'), 600)
    return ''
  }
  const { hop, courier } = await hopAndCourier(t, { answer: slow }, { connections: 1 })
  const started = performance.now()
  const both = [100, 150].map((ms) => courier.deliver(deliveryOf({ signal: AbortSignal.timeout(ms) })))
  for (const { results } of await Promise.all(both)) {
    t.match(results, [{ outcome: 'deferred', text: 'the delivery was given up' }])
  }
  t.ok(performance.now() - started < 500, 'nor waits for it')
  t.match((await courier.deliver(deliveryOf())).results, [{ outcome: 'sent' }])
  t.equal(hop.contents.length, 1)
  t.equal(hop.connections(), 1, 'the connection was for the next mail')
})

t.test('a mail whose own stream fails is broken off before its dot, and the error is told', async (t) => {
  const { hop, courier } = await hopAndCourier(t)
  const mail = mailOf('', {
    size: 1_000_000,
    async *open() {
      yield Buffer.alloc(600_000, 'a')
      throw new Error('stopped by the last look')
    },
  })
  await t.rejects(courier.deliver(deliveryOf({ mail })), { message: 'stopped by the last look' })
  t.equal(hop.contents.length, 0)
  t.equal((await courier.deliver(deliveryOf())).results[0]?.outcome, 'sent')
  t.equal(hop.connections(), 2)
})

t.test('a large mail is read no faster than the next hop takes it', async (t) => {
  const { courier } = await hopAndCourier(t, {
    answer: (command, _, socket) => {
      if (command !== 'DATA') return undefined
      setImmediate(() => socket.pause())
      setTimeout(() => socket.resume(), 300)
      return undefined
    },
  })
  const block = Buffer.from(`${'a'.repeat(76)}\r\n`.repeat(4000))
  let given = 0
  const mail = mailOf('', {
    size: block.length * 60,
    async *open() {
      for (let i = 0; i < 60; i++) {
        given++
        yield block
      }
    },
  })
  const delivered = courier.deliver(deliveryOf({ mail }))
  await sleep(200)
  const early = given
  t.match((await delivered).results, [{ outcome: 'sent' }])
  t.ok(early > 0 && early < 45, `${early} of 60 blocks were read while the next hop did not read`)
})

t.test('what the next hop can never take is refused before it is asked', async (t) => {
  const { hop, courier } = await hopAndCourier(t, { ehlo: ['PIPELINING', 'SIZE 1000'] })
  const cases: [string, Partial<Delivery>, number, string][] = [
    ['too large', { mail: mailOf('x'.repeat(2000)) }, 552, '5.3.4'],
    ['header in UTF-8', { mail: mailOf(text, { smtputf8: true }) }, 553, '5.6.7'],
    ['recipient in UTF-8', { recipients: ['юзер@example.org'] }, 553, '5.6.7'],
    ['sender in UTF-8', { sender: 'юзер@acme.example' }, 553, '5.6.7'],
    ['8-bit text', { mail: mailOf('a: b\r\n\r\n\xe9\r\n', { eightBit: true }) }, 554, '5.6.3'],
    ['8-bit text not looked at', { mail: mailOf('a: b\r\n\r\n\xe9\r\n', { eightBit: null }) }, 554, '5.6.3'],
    ['a recipient that injects', { recipients: ['bo@example.org>\r\nRCPT TO:<eve@example.org'] }, 553, '5.1.3'],
    ['a sender that injects', { sender: 'a@b.example> SIZE=1\r\nDATA' }, 553, '5.1.7'],
  ]
  for (const [what, extra, code, enhanced] of cases) {
    const { results } = await courier.deliver(deliveryOf(extra))
    t.match(results, [{ outcome: 'failed', code, enhanced, remote: false }], what)
  }
  t.equal(hop.commands.filter((command) => /^(?:MAIL|RCPT|DATA)/.test(command)).length, 0)
  const { results } = await courier.deliver(deliveryOf({ recipients: ['юзер@example.org', 'bo@example.org'] }))
  t.match(results, [{ outcome: 'failed', enhanced: '5.6.7' }, { outcome: 'sent' }])
})

t.test('SMTPUTF8 and 8BITMIME are said where they are offered and needed', async (t) => {
  const { hop, courier } = await hopAndCourier(t, { ehlo: ['PIPELINING', 'SMTPUTF8', '8BITMIME'] })
  await courier.deliver(deliveryOf({ recipients: ['юзер@example.org'], mail: mailOf(text, { eightBit: null }) }))
  t.ok(hop.commands.includes('MAIL FROM:<anna@acme.example> BODY=8BITMIME SMTPUTF8'))
  t.equal((await courier.deliver(deliveryOf({ sender: '' }))).results[0]?.outcome, 'sent')
  t.ok(hop.commands.includes('MAIL FROM:<>'))
})

t.test('many recipients are served in several mails', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {}, { recipientsPerMail: 40 })
  const recipients = Array.from({ length: 100 }, (_, i) => `p${i}@example.org`)
  const { results } = await courier.deliver(deliveryOf({ recipients }))
  t.same(
    results.map((result) => result.recipient),
    recipients,
  )
  t.equal(hop.contents.length, 3)
})

t.test('a mail that cannot be read again after some have it defers the others', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {}, { recipientsPerMail: 1 })
  let opened = 0
  const mail = mailOf(text, {
    async *open() {
      if (++opened === 2) throw new Error('gone')
      yield Buffer.from(text)
    },
  })
  const { results } = await courier.deliver(deliveryOf({ recipients: ['a@example.org', 'b@example.org'], mail }))
  t.same(
    results.map((result) => result.outcome),
    ['sent', 'deferred'],
  )
  t.equal(hop.contents.length, 1)
})

t.test('no more connections than allowed, each used again and ended in order', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {}, { connections: 3, mailsPerConnection: 5, idleMs: 50 })
  await Promise.all(Array.from({ length: 30 }, () => courier.deliver(deliveryOf())))
  t.equal(hop.contents.length, 30)
  t.ok(hop.connections() >= 6 && hop.connections() <= 10, `${hop.connections()} connections`)
  await sleep(200)
  t.equal(hop.commands.filter((command) => command === 'QUIT').length, hop.connections())
})

t.test('an idle connection that the next hop closes is not used again', async (t) => {
  const { hop, courier } = await hopAndCourier(t, {
    content: (_, connection) => (connection === 1 ? '250 2.0.0 ok\r\n421 4.4.2 idle\r\n' : '250 2.0.0 ok\r\n'),
  })
  await courier.deliver(deliveryOf())
  await sleep(20)
  t.equal((await courier.deliver(deliveryOf())).results[0]?.outcome, 'sent')
  t.equal(hop.connections(), 2)
})

const tls = await makeCertificate('localhost')
const tlsScript: Script = { ehlo: ['PIPELINING', 'STARTTLS', 'AUTH PLAIN LOGIN'], tls }

t.test(
  'verified TLS takes a certificate of a trusted authority for the name of the next hop, and no other',
  async (t) => {
    const cases: [string, TlsPolicy, 'sent' | 'deferred'][] = [
      ['trusted', { mode: 'verify', name: 'localhost', ca: [tls.ca] }, 'sent'],
      ['unknown authority', { mode: 'verify', name: 'localhost' }, 'deferred'],
      ['another name', { mode: 'verify', name: 'other.example', ca: [tls.ca] }, 'deferred'],
      ['pinned', { mode: 'pin', spki: [tls.pin] }, 'sent'],
      ['another pin', { mode: 'pin', spki: [Buffer.alloc(32).toString('base64')] }, 'deferred'],
      ['opportunistic', { mode: 'opportunistic' }, 'sent'],
    ]
    for (const [what, policy, outcome] of cases) {
      const { hop, courier } = await hopAndCourier(t, tlsScript, { tls: policy })
      t.match((await courier.deliver(deliveryOf())).results, [{ outcome }], what)
      t.equal(hop.contents.length, outcome === 'sent' ? 1 : 0)
      t.equal(courier.capabilities()?.tls ?? false, outcome === 'sent')
    }
  },
)

t.test('nothing leaves in clear where TLS is required and not offered, or refused', async (t) => {
  for (const script of [
    {},
    { ...tlsScript, answer: (command: string) => (command === 'STARTTLS' ? '454 4.7.0 no\r\n' : undefined) },
  ]) {
    const { hop, courier } = await hopAndCourier(t, script, { tls: { mode: 'verify' } })
    t.match((await courier.deliver(deliveryOf())).results, [{ outcome: 'deferred', enhanced: '4.7.0' }])
    t.notOk(hop.commands.some((command) => command.startsWith('MAIL')))
  }
  t.equal(defaultTlsPolicy('mx.example.org').mode, 'verify')
  t.equal(defaultTlsPolicy('127.0.0.1').mode, 'opportunistic')
})

t.test('why TLS failed is said in words, without what only OpenSSL knows of itself', async (t) => {
  const { courier } = await hopAndCourier(
    t,
    {
      ehlo: ['STARTTLS'],
      answer(command, _, socket) {
        if (command !== 'STARTTLS') return undefined
        // A fatal alert, as of a server that shares no version of TLS with us.
        setTimeout(() => socket.write(Buffer.from([21, 3, 3, 0, 2, 2, 70])), 50)
        return '220 go on\r\n'
      },
    },
    { tls: { mode: 'encrypt' } },
  )
  t.match((await courier.deliver(deliveryOf())).results, [
    { outcome: 'deferred', text: /^TLS with the next hop failed: [a-z0-9/ ]*alert protocol version$/ },
  ])
})

t.test('what is said in clear behind the answer to STARTTLS ends the connection', async (t) => {
  const { hop, courier } = await hopAndCourier(
    t,
    { ...tlsScript, injected: '250 2.0.0 injected\r\n' },
    { tls: { mode: 'opportunistic' } },
  )
  const { results } = await courier.deliver(deliveryOf())
  t.match(results, [{ outcome: 'deferred' }])
  t.notOk(hop.commands.some((command) => command.startsWith('MAIL')))
})

t.test('a password is sent over TLS only, by PLAIN or by LOGIN', async (t) => {
  const auth = { user: 'gw', password: 'pass word' }
  const answer = (command: string) => {
    if (command.startsWith('AUTH PLAIN')) return '235 2.7.0 ok\r\n'
    if (command === 'AUTH LOGIN' || command === 'Z3c=') return '334 VXNlcm5hbWU6\r\n'
    return command === 'cGFzcyB3b3Jk' ? '235 2.7.0 ok\r\n' : undefined
  }
  const plain = await hopAndCourier(t, { ...tlsScript, answer }, { auth })
  t.match((await plain.courier.deliver(deliveryOf())).results, [{ outcome: 'sent' }])
  t.ok(plain.hop.commands.includes(`AUTH PLAIN ${Buffer.from('\0gw\0pass word').toString('base64')}`))
  const login = await hopAndCourier(t, { ...tlsScript, ehlo: ['STARTTLS', 'AUTH=LOGIN'], answer }, { auth })
  t.match((await login.courier.deliver(deliveryOf())).results, [{ outcome: 'sent' }])
  const wrong = await hopAndCourier(
    t,
    { ...tlsScript, answer: (c) => (c.startsWith('AUTH') ? '535 5.7.8 no\r\n' : undefined) },
    { auth },
  )
  t.match((await wrong.courier.deliver(deliveryOf())).results, [{ outcome: 'deferred', enhanced: '4.7.8' }])
  const clear = await hopAndCourier(t, { ehlo: ['AUTH PLAIN'] }, { auth })
  t.match((await clear.courier.deliver(deliveryOf())).results, [{ outcome: 'deferred', enhanced: '4.7.0' }])
  t.notOk(clear.hop.commands.some((command) => command.startsWith('AUTH')))
})

t.test(
  'Postfix with STARTTLS refuses one recipient of three and delivers to two',
  { skip: postfixAbsent(), timeout: 60_000 },
  async (t) => {
    const certificate = await makeCertificate('mx.example.org')
    const postfix = await startPostfix({ tls: certificate, refuse: { 'no@example.org': '550 5.1.1 no such user' } })
    const tlsPolicy = { mode: 'verify', name: 'mx.example.org', ca: [certificate.ca] } as const
    const courier = createSmtpCourier({
      host: '127.0.0.1',
      port: postfix.port,
      helo: 'gw.acme.example',
      tls: tlsPolicy,
    })
    t.teardown(async () => {
      await courier.close()
      await postfix.stop()
    })
    const content = 'From: anna@acme.example\r\nSubject: three\r\n\r\n.dot\r\n..\r\nend\r\n'
    const recipients = ['bo@example.org', 'no@example.org', 'cy@example.org']
    const { results } = await courier.deliver(deliveryOf({ recipients, mail: mailOf(content) }))
    t.same(
      results.map((result) => result.outcome),
      ['sent', 'failed', 'sent'],
    )
    t.match(results[1], { code: 550, enhanced: '5.1.1', text: /no such user/, remote: true })
    const mails = await postfix.waitFor(2)
    for (const mail of mails) t.match(mail.toString('latin1'), '\n\n.dot\n..\nend\n')
    t.match(courier.capabilities(), { tls: true, smtputf8: true, eightBitMime: true, size: 60_000_000 })
    const utf8 = await courier.deliver(deliveryOf({ recipients: ['юзер@example.org'], mail: mailOf(content) }))
    t.match(utf8.results, [{ outcome: 'sent' }])
    const large = Buffer.from(`${'a'.repeat(76)}\r\n`.repeat(60_000))
    const big = await courier.deliver(
      deliveryOf({ recipients: ['bo@example.org'], mail: mailOf([Buffer.from('Subject: big\r\n\r\n'), large]) }),
    )
    t.match(big.results, [{ outcome: 'sent' }])
  },
)

const sink = '/usr/sbin/smtp-sink'
const noSink = existsSync(sink) && process.getuid?.() === 0 ? false : 'smtp-sink is absent: skipped'

t.test("Postfix's smtp-sink takes 500 mails over 10 connections", { skip: noSink }, async (t) => {
  const probe = await startScriptedHop()
  const { port } = probe
  await probe.close()
  const child = spawn(sink, ['-u', 'nobody', `127.0.0.1:${port}`, '100'])
  t.teardown(() => child.kill())
  const courier = createSmtpCourier({ host: '127.0.0.1', port, helo: 'gw.acme.example', connections: 10 })
  for (let i = 0; i < 50; i++) {
    if ((await courier.deliver(deliveryOf())).results[0]?.outcome === 'sent') break
    await sleep(50)
  }
  const reports = await Promise.all(Array.from({ length: 500 }, () => courier.deliver(deliveryOf())))
  t.ok(reports.every((report) => report.results[0]?.outcome === 'sent'))
  await courier.close()
})
