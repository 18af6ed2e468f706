import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { freePorts } from '../../cli/house.ts'
import { type Dialogue, openDialogue } from './dialogue.ts'
import { openScene, policyOf } from './house.ts'
import { postfixAbsent, startPostfix } from './postfix.ts'
import { startSink } from './sink.ts'

t.setTimeout(170_000)

/*
 * client -> gateway -> Postfix -> mailbox, and client -> Postfix -> gateway -> Postfix -> mailbox. Neither Postfix is hardened: a bare LF ends a line
 * there, and LF.LF a message. Mail passes unsealed, so that what a client wrote is what they see. Each mail holds something that one of two servers
 * might take for the end of a message, and behind it the commands of a second mail: none may be born (RFC 5321 2.3.8, 4.1.1.4).
 */
const from = 'anna@acme.example'
const domains = ['direct.example', 'lenient.example', 'refuse.example']

/** What stands before the dot, the dot, and what stands behind it, in every combination but the true end. */
const before = ['\n', '\r', '\r\n', '\n\r', '\r\r\n', '\n\n', '\r\n\0', '\0\r\n', '\0\n']
const dots = ['.', '..', '.\0', '\0.']
const behind = ['\n', '\r', '\r\n', '\n\r', '\r\r\n', '\n\n', '\0\r\n', '\r\0\n', ' \r\n']
const every = before.flatMap((first) => dots.flatMap((dot) => behind.map((last) => first + dot + last)))
const endings = every.filter((ending) => !ending.includes('\r\n.\r\n'))
/** Those of the published scanners. */
const published = [
  ...['\n.\n', '\n.\r', '\r.\n', '\r.\r', '\n.\r\n', '\r.\r\n', '\r\n.\n', '\r\n.\r', '\r\n\0.\r\n', '\r\n.\0\r\n'],
  ...['\0\r\n.\0\r\n', '\r\n.\r\r\n', '\r\r\n.\r\r\n', '\n..\r\n', '\r\n..\r\n'],
]

const hidden = (to: string) =>
  `MAIL FROM:<eve@acme.example>\r\nRCPT TO:<${to}>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n`
const bodyOf = (ending: string, victim: string) => `before${ending}${hidden(victim)}after\r\n`

/** What is left of the body where bare newlines become CRLF: a dot goes behind a true CRLF only. */
const normalised = (wire: string) => wire.replace(/\r\n\./g, '\r\n').replace(/\r+\n|\r+|\n/g, '\r\n')
const hasBare = (text: string) => /\r(?!\n)|(?<!\r)\n/.test(text)
const show = (text: string) => JSON.stringify(text)

t.test('endings that two servers read differently', { skip: postfixAbsent() }, async (t) => {
  const lax = { smtpd_forbid_bare_newline: 'no', smtpd_forbid_unauth_pipelining: 'no', disable_vrfy_command: 'no' }
  const mailboxes = await startPostfix({ extra: { virtual_mailbox_domains: domains.join(' '), ...lax } })
  t.teardown(() => mailboxes.stop())
  const [lenient = 0] = await freePorts(1)
  const scene = await openScene(t, {
    sink: await startSink(),
    provider: { host: '127.0.0.1', port: mailboxes.port },
    policy: policyOf(['{name: clear, when: message.size >= 0, then: pass}']),
    gateway: ({ smtp }) => ({
      listeners: [
        { name: 'refuse', host: '127.0.0.1', port: smtp, clients: [{ org: 'acme.example', from: 'anyone' }] },
        {
          ...{ name: 'lenient', host: '127.0.0.1', port: lenient, bareNewlines: 'normalise' },
          clients: [{ org: 'acme.example', from: 'anyone' }],
        },
      ],
    }),
  })
  const { smtp: strict } = scene.house.ports
  const places = { strict, lenient, mailboxes: () => readMails(mailboxes.delivered()), wait: mailboxes.waitFor }

  await t.test('through the gateway that refuses bare newlines', (t) => direct(t, places, 'strict'))
  await t.test('through the gateway that normalises them', (t) => direct(t, places, 'lenient'))
  await t.test('split between packets at every place', (t) => split(t, places))
  await t.test('from a Postfix as client', async (t) => {
    const front = await startPostfix({
      extra: {
        virtual_mailbox_domains: '',
        default_transport: `smtp:[127.0.0.1]:${lenient}`,
        transport_maps: `inline:{ {refuse.example=smtp:[127.0.0.1]:${strict}} }`,
        ...lax,
      },
    })
    t.teardown(() => front.stop())
    await fromPostfix(t, front, mailboxes)
  })
  t.notMatch(mailboxes.log(), /(?:fatal|panic):/)
})

type Places = {
  readonly strict: number
  readonly lenient: number
  mailboxes(): readonly Mail[]
  wait(count: number): Promise<unknown>
}

/** One mail for each ending; whatever is accepted arrives once, with its own octets, and nothing else does. */
async function direct(test: Test, places: Places, kind: 'strict' | 'lenient'): Promise<void> {
  const start = places.mailboxes().length
  const taken = new Map<string, string>()
  await eachOf(endings, async (ending, n) => {
    const to = `${kind}${n}@direct.example`
    const body = bodyOf(ending, `victim-${to}`)
    const answer = await sendRaw(places[kind], to, [body])
    const wanted = kind === 'strict' && hasBare(body) ? /^550 5\.5\.2 .*bare (?:CR|LF) in line/ : /^250 2\.0\.0 /
    if (!wanted.test(answer)) test.fail(`${show(ending)}: ${answer}`)
    if (answer.startsWith('250')) taken.set(to, normalised(body))
  })
  await places.wait(start + taken.size)
  // A mail too many may be a moment behind the others.
  await sleep(500)
  const mails = places.mailboxes().filter(({ to }) => to.includes(kind))
  test.equal(mails.length, taken.size, `${taken.size} of ${endings.length} were taken, and so many mails arrived`)
  test.ok(taken.size >= (kind === 'strict' ? 20 : endings.length))
  for (const { to, body } of mails) if (body !== taken.get(to)) test.equal(body, taken.get(to), to)
  test.same(
    mails.filter(({ to }) => to.startsWith('victim')),
    [],
    'no second mail',
  )
}

async function split(test: Test, places: Places): Promise<void> {
  const start = places.mailboxes().length
  const cuts = published.flatMap((ending) => Array.from({ length: ending.length + 1 }, (_, cut) => ({ ending, cut })))
  const taken = new Map<string, string>()
  await eachOf(cuts, async ({ ending, cut }, n) => {
    const to = `split${n}@direct.example`
    const body = bodyOf(ending, `victim-${to}`)
    const place = 'before'.length + cut
    const pieces = [body.slice(0, place), body.slice(place)]
    const refused = await sendRaw(places.strict, `strict-${to}`, pieces)
    if (hasBare(body) !== refused.startsWith('550 5.5.2')) test.fail(`${show(ending)} cut at ${cut}: ${refused}`)
    if (refused.startsWith('250')) taken.set(`strict-${to}`, normalised(body))
    // And octet by octet around the ending.
    const [head = '', tail = ''] = [body.slice(0, 4), body.slice(6 + ending.length)]
    const octets = cut === 0 ? [head, ...body.slice(4, 6 + ending.length), tail] : pieces
    const answer = await sendRaw(places.lenient, to, octets)
    if (!answer.startsWith('250')) test.fail(`${show(ending)} cut at ${cut}: ${answer}`)
    taken.set(to, normalised(body))
  })
  await places.wait(start + taken.size)
  await sleep(500)
  const mails = places.mailboxes().filter(({ to }) => to.includes('split'))
  test.equal(mails.length, taken.size, `${cuts.length} places, ${taken.size} mails`)
  for (const { to, body } of mails) if (body !== taken.get(to)) test.equal(body, taken.get(to), to)
}

type Postfix = Awaited<ReturnType<typeof startPostfix>>

/** The Postfix in front may itself be fooled by its client; what it hands on arrives once each, and nothing that it did not hand on. */
async function fromPostfix(test: Test, front: Postfix, mailboxes: Postfix): Promise<void> {
  let asked = 0
  await eachOf(published, async (ending, n) => {
    for (const domain of ['refuse.example', 'lenient.example']) {
      asked += 1
      const to = `back${n}@${domain}`
      await sendRaw(front.port, to, [bodyOf(ending, `victim-${to}`)])
    }
  })
  const settled = () => [...front.log().matchAll(/ to=<(\S+back\d+@\S+|back\d+@\S+)>.* status=(\w+)/g)]
  for (let waited = 0; waited < 20_000 && !quiet(front, settled().length, asked); waited += 200) await sleep(200)
  const handedOn = settled().flatMap(([, to = '', status]) => (status === 'sent' ? [to] : []))
  const backs = () => readMails(mailboxes.delivered()).filter(({ to }) => to.includes('back'))
  for (let waited = 0; waited < 10_000 && backs().length < handedOn.length; waited += 200) await sleep(200)
  await sleep(500)
  const mails = backs()
  test.same(mails.map(({ to }) => to).sort(), [...handedOn].sort(), `each of ${handedOn.length} handed on arrived once`)
  test.equal(settled().length, handedOn.length, 'and none was refused')
  test.ok(handedOn.length >= asked)
  const fooled = mails.filter(({ to }) => to.startsWith('victim'))
  for (const { to } of fooled)
    test.match(front.log(), ` to=<${to}>`, `${to}: its second mail was born in front of us, not here`)
  for (const [n, ending] of published.entries()) {
    const [mail] = mails.filter(({ to }) => to === `back${n}@lenient.example`)
    const split = fooled.some(({ to }) => to.includes(`back${n}@`))
    if (split || mail === undefined) continue
    test.equal(mail.body, asPostfixReads(bodyOf(ending, `victim-${mail.to}`)), `${show(ending)}: the octets`)
  }
}

function quiet(front: Postfix, settled: number, asked: number): boolean {
  const queued = front.log().match(/ from=<.*queue active/g)?.length ?? 0
  const removed = front.log().match(/qmgr\[\d+\]: \w+: removed/g)?.length ?? 0
  return settled >= asked && queued <= removed
}

/** A bare LF ends a line there, a dot behind it is taken away, and a bare CR goes on as a space. */
function asPostfixReads(wire: string): string {
  const lines = wire.split(/\r?\n/).map((line) => (line.startsWith('.') ? line.slice(1) : line))
  return lines.join('\r\n').replace(/\r(?!\n)/g, ' ')
}

async function sendRaw(port: number, to: string, pieces: readonly string[]): Promise<string> {
  const client: Dialogue = await openDialogue(port)
  client.socket.setNoDelay(true)
  try {
    const subject = `From: ${from}\r\nTo: ${to}\r\nSubject: smuggler\r\nMessage-ID: <${to}>\r\n\r\n`
    for (const command of [`MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, 'DATA']) {
      const answer = await client.say(command)
      if (/^[45]/.test(answer)) return answer
    }
    for (const [n, piece] of [subject, ...pieces, '.\r\n'].entries()) {
      if (n > 1 && pieces.length > 1) await sleep(3)
      client.write(Buffer.from(piece, 'latin1'))
    }
    return await client.reply()
  } finally {
    client.socket.destroy()
  }
}

/** Eight at a time. */
async function eachOf<T>(items: readonly T[], act: (item: T, n: number) => Promise<void>): Promise<void> {
  const queue = [...items.entries()]
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await act(next[1], next[0])
  }
  await Promise.all(Array.from({ length: 8 }, worker))
}

type Mail = { readonly to: string; readonly body: string }

/** Of a mailbox: whom it is for, and the body with CRLF. */
function readMails(files: readonly Buffer[]): Mail[] {
  return files.map((file) => {
    const text = file.toString('latin1').replace(/\n/g, '\r\n')
    return {
      to: /^X-Original-To: (\S+)\r$/m.exec(text)?.[1] ?? '',
      body: text.slice(text.indexOf('\r\n\r\n') + 4),
    }
  })
}
