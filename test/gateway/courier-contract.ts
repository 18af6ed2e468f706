import type { Test } from 'tap'
import type { Courier, Delivery, OutgoingMail } from '../../gateway/courier.ts'

/** What the provider does with the next mail. */
export type Mood =
  | 'takes'
  /** Refuses it for good. */
  | 'refuses'
  /** Refuses it for now. */
  | 'is busy'
  /** Takes it, and its answer is lost. */
  | 'loses its answer'
  /** Is not there at all. */
  | 'is away'

/** A courier with the provider behind it. */
export type Errand = {
  readonly courier: Courier
  /** What the provider delivered: the mail's octets, and to whom, in any order. */
  readonly delivered: () => readonly { readonly text: string; readonly recipients: readonly string[] }[]
  be(mood: Mood): Promise<void>
}

const stamp = 'v=1; org=acme.example; id=AAAAAAAAAAAAAAAAAAAAAA; s=abcdefghijklmnop'

/** A small mail from anna@acme.example; its header names the recipients given in `to` and `cc`. */
export function letter(
  to: readonly string[],
  more: { cc?: readonly string[]; body?: string; id?: string; from?: string } = {},
) {
  const {
    cc = [],
    body = 'hello\r\n.\r\n..dots\r\n',
    id = 'one@acme.example',
    from = 'Anna <anna@acme.example>',
  } = more
  const lines = [
    'Received: from client by gw1.acme.example; Mon, 2 Mar 2026 10:00:00 +0000',
    `From: ${from}`,
    ...(to.length > 0 ? [`To: ${to.join(',\r\n ')}`] : []),
    ...(cc.length > 0 ? [`Cc: ${cc.join(', ')}`] : []),
    'Subject: protected',
    'Date: Mon, 2 Mar 2026 10:00:00 +0000',
    `Message-ID: <${id}>`,
    `Sealpost-Handled: ${stamp}`,
    'MIME-Version: 1.0',
  ]
  return `${lines.join('\r\n')}\r\n\r\n${body}`
}

export function mailOf(text: string | readonly Uint8Array[]): OutgoingMail {
  const chunks = typeof text === 'string' ? [Buffer.from(text)] : text
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  return {
    ...{ size, smtputf8: false, eightBit: false },
    async *open() {
      yield* chunks
    },
  }
}

export function deliveryOf(recipients: readonly string[], more: Partial<Delivery> = {}): Delivery {
  return { sender: 'anna@acme.example', recipients, mail: mailOf(letter(recipients)), ...more }
}

/** What every courier promises, whatever way it goes. `open` gives a new courier and provider for each test. */
export function courierContract(
  t: Test,
  open: (t: Test) => Promise<Errand>,
  both: readonly [string, string] = ['bo@example.org', 'cy@example.net'],
): void {
  const [bo, cy] = both

  t.test('a mail is sent once, to everybody, and each has a result in order', async (t) => {
    const { courier, delivered } = await open(t)
    const report = await courier.deliver(deliveryOf(both))
    t.same(
      report.results.map(({ recipient, outcome, code, remote }) => [recipient, outcome, code, remote]),
      both.map((recipient) => [recipient, 'sent', 250, true]),
    )
    t.not(report.nextHop, '')
    t.ok(report.results.every(({ text, enhanced }) => /^[ -~]{1,400}$/.test(text) && /^2\.\d+\.\d+$/.test(enhanced)))
    t.same(
      delivered().map(({ recipients }) => [...recipients].sort()),
      [both],
    )
    t.equal(delivered()[0]?.text, letter(both), 'octet for octet')
  })

  t.test('who stands in no header field gets it like the others', async (t) => {
    const { courier, delivered } = await open(t)
    const report = await courier.deliver(deliveryOf(both, { mail: mailOf(letter([bo])) }))
    t.ok(report.results.every(({ outcome }) => outcome === 'sent'))
    t.same(
      delivered().map(({ recipients }) => [...recipients].sort()),
      [both],
    )
  })

  t.test('nobody gets it but the recipients of the delivery', async (t) => {
    const { courier, delivered } = await open(t)
    await courier.deliver(deliveryOf([cy], { mail: mailOf(letter(both)) }))
    t.same(
      delivered().map(({ recipients }) => recipients),
      [[cy]],
    )
  })

  for (const [mood, outcome] of [
    ['refuses', 'failed'],
    ['is busy', 'deferred'],
    ['is away', 'deferred'],
  ] as const) {
    t.test(`where the provider ${mood}, everybody is ${outcome} and nobody has it`, async (t) => {
      const errand = await open(t)
      await errand.be(mood)
      const { results } = await errand.courier.deliver(deliveryOf(both))
      t.same(
        results.map((result) => result.outcome),
        [outcome, outcome],
      )
      t.ok(results.every(({ code }) => (outcome === 'failed' ? code >= 500 : code < 500)))
      t.same(errand.delivered(), [])
    })
  }

  t.test('after a lost answer the mail is not sent twice, and never called undelivered', async (t) => {
    const errand = await open(t)
    await errand.be('loses its answer')
    const { results } = await errand.courier.deliver(deliveryOf(both))
    t.ok(results.every(({ outcome }) => outcome === 'sent' || outcome === 'unknown'))
    t.equal(errand.delivered().length, 1)
  })

  t.test('a delivery that was given up before it began sends nothing', async (t) => {
    const { courier, delivered } = await open(t)
    const { results } = await courier.deliver(deliveryOf(both, { signal: AbortSignal.abort() }))
    t.ok(results.every(({ outcome }) => outcome === 'deferred'))
    t.same(delivered(), [])
  })

  t.test('a mail that breaks off reaches nobody, its error is told, and the next mail is sent', async (t) => {
    const { courier, delivered } = await open(t)
    const mail = {
      ...mailOf(letter(both)),
      size: 900_000,
      async *open() {
        yield Buffer.from(letter(both))
        yield Buffer.alloc(800_000, 'a')
        throw new Error('stopped by the last look')
      },
    }
    await t.rejects(courier.deliver(deliveryOf(both, { mail })), { message: 'stopped by the last look' })
    t.same(delivered(), [])
    t.equal((await courier.deliver(deliveryOf(both))).results[0]?.outcome, 'sent')
    t.equal(delivered().length, 1)
  })

  t.test('a mail of 7 MB arrives whole', async (t) => {
    const { courier, delivered } = await open(t)
    const line = Buffer.from(`${'0123456789'.repeat(7)}\r\n`.repeat(1000))
    const chunks = [Buffer.from(letter(both)), ...Array.from({ length: 97 }, () => line)]
    const { results } = await courier.deliver(deliveryOf(both, { mail: mailOf(chunks) }))
    t.ok(results.every(({ outcome }) => outcome === 'sent'))
    t.ok(Buffer.from(delivered()[0]?.text ?? '', 'latin1').equals(Buffer.concat(chunks)))
  })

  t.test('whoever gives onDot is told once, before the provider has the mail', async (t) => {
    const { courier, delivered } = await open(t)
    const had: number[] = []
    const { results } = await courier.deliver(deliveryOf(both, { onDot: () => had.push(delivered().length) }))
    t.ok(results.every(({ outcome }) => outcome === 'sent'))
    t.same(had, [0])
  })

  t.test('close lets it end, and can be said twice', async (t) => {
    const { courier } = await open(t)
    await courier.close()
    await t.resolves(courier.close())
  })
}
