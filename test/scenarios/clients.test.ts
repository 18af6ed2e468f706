import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createTransport } from 'nodemailer'
import t from 'tap'
import { freePorts } from '../../cli/house.ts'
import { lessPrivateFields } from './corpus.ts'
import { openDialogue } from './dialogue.ts'
import { openScene, policyOf } from './house.ts'
import { envelopeIn, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(120_000)

/*
 * Other people's SMTP clients at the gateway: swaks, Postfix's smtp-source, nodemailer's pool. One listener asks for STARTTLS and sign-in, the other
 * takes whoever reaches it on loopback.
 */
const from = 'anna@acme.example'
const password = 'the-lighthouse-is-blue'
const canary = 'canary-of-clients-08fe'

const [signedIn = 0] = await freePorts(1)
const sink = await startSink()
const accounts = join(t.testdir(), 'accounts.yaml')
const added = spawnSync(
  process.execPath,
  [
    join(import.meta.dirname, '../../cli/main.ts'),
    'smtp-user',
    'add',
    'erp',
    '--org',
    'acme.example',
    '--file',
    accounts,
  ],
  {
    input: `${password}
`,
    encoding: 'utf8',
  },
)
t.equal(added.status, 0, added.stderr)
const tls = { mode: 'starttls', cert: 'certs/gateway.pem', key: 'certs/gateway.key' }
const scene = await openScene(t, {
  sink,
  policy: policyOf(),
  gateway: ({ smtp }) => ({
    listeners: [
      {
        name: 'submission',
        host: '127.0.0.1',
        port: smtp,
        tls: { ...tls },
        clients: [{ org: 'acme.example', from: 'anyone' }],
      },
      { name: 'signed-in', host: '127.0.0.1', port: signedIn, tls: { ...tls }, accounts },
    ],
  }),
})
const { smtp } = scene.house.ports
const ca = readFileSync(join(scene.house.folder, 'certs', 'ca.pem'))

type Ended = { readonly status: number | null; readonly said: string }

/** Runs a program beside the sink, which lives in this process and must go on answering. */
function run(program: string, args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (piece: Buffer) => (said += piece.toString('latin1')))
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, said }))
  })
}

function absent(program: string): string | false {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0 ? false : `${program} is absent: skipped`
}

const swaks = absent('swaks')

t.test('swaks by STARTTLS and sign-in, with an attachment, to several', { skip: swaks }, async (t) => {
  const file = join(t.testdir({ 'plan.txt': `${canary} in the attachment\n` }), 'plan.txt')
  const to = ['swaks1@example.org', 'swaks2@example.org', 'swaks3@example.net']
  const base = ['--server', '127.0.0.1', '--port', `${signedIn}`, '--from', from, '--to', to.join(',')]
  const mail = [
    '--header',
    'Subject: By swaks',
    '--body',
    `${canary} in the body`,
    '--attach-type',
    'text/plain',
    '--attach',
    `@${file}`,
  ]
  const good = await run('swaks', [
    ...base,
    ...mail,
    '--tls',
    '--auth',
    'PLAIN',
    '--auth-user',
    'erp',
    '--auth-password',
    password,
  ])
  t.equal(good.status, 0, good.said.slice(-300))
  t.match(good.said, /250 2\.0\.0 envelope /)
  const [delivery, more] = sink.deliveries
  t.equal(more, undefined)
  t.same(delivery?.recipients, to)
  const octets = delivery?.octets ?? Buffer.alloc(0)
  t.match(octets.toString('latin1'), /^Received: from [\s\S]*? with ESMTPSA /)
  const reader = await scene.prove(envelopeIn(octets), 'swaks2@example.org')
  const { message } = await reader.open(envelopeIn(octets), sealedCopyIn(octets))
  t.match(Buffer.from(message).toString('latin1'), `${canary} in the body`)
  t.match(Buffer.from(message).toString('latin1'), Buffer.from(`${canary} in the attachment\n`).toString('base64'))
})

t.test('swaks without sign-in, with a wrong password, or without TLS, gets nowhere', { skip: swaks }, async (t) => {
  const before = sink.seen.length
  const base = [
    '--server',
    '127.0.0.1',
    '--port',
    `${signedIn}`,
    '--from',
    from,
    '--to',
    'x@example.org',
    '--body',
    canary,
  ]
  const auth = ['--auth', 'LOGIN', '--auth-user', 'erp', '--auth-password']
  const none = await run('swaks', [...base, '--tls'])
  t.match(none.said, /550 5\.7\.1 .*has not proven/)
  const wrong = await run('swaks', [...base, '--tls', ...auth, `${password}-not`])
  t.match(wrong.said, /535 5\.7\.8 /)
  const clear = await run('swaks', [...base, ...auth, password])
  t.notMatch(clear.said, /250 2\.0\.0 envelope/)
  for (const { status } of [none, wrong, clear]) t.not(status, 0)
  t.equal(sink.seen.length, before)
})

t.test('a client that says 8BITMIME or CHUNKING gets what was announced', async (t) => {
  const client = await openDialogue(smtp)
  const said = await client.say('EHLO again.acme.example')
  for (const word of ['8BITMIME', 'SMTPUTF8', 'PIPELINING', 'STARTTLS', 'ENHANCEDSTATUSCODES', 'DSN'])
    t.match(said, word)
  t.match(said, /SIZE \d+/)
  t.notMatch(said, /CHUNKING|BINARYMIME/, 'nothing that is not there')
  const octets = Buffer.from(`From: ${from}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße, ${canary}\r\n`)
  const before = sink.deliveries.length
  t.match(await client.send({ from, to: ['eight@example.org'], octets, parameters: ' BODY=8BITMIME' }), /^250 /)
  t.match(await client.send({ from, to: ['eight@example.org'], octets, parameters: ' BODY=BINARYMIME' }), /^5\d\d /)
  await client.quit()
  const mail = sink.deliveries[before]?.octets ?? Buffer.alloc(0)
  const reader = await scene.prove(envelopeIn(mail), 'eight@example.org')
  t.ok(lessPrivateFields(octets).equals((await reader.open(envelopeIn(mail), sealedCopyIn(mail))).message))
})

t.test("Postfix's smtp-source, on kept connections and on new ones", { skip: absent('smtp-source') }, async (t) => {
  const base = ['-f', from, '-S', 'By smtp-source', '-l', '10240']
  for (const [to, args] of [
    ['kept@example.org', ['-d', '-s', '8', '-m', '120']],
    ['fresh@example.org', ['-s', '4', '-m', '40']],
    ['group@example.org', ['-d', '-s', '2', '-m', '10', '-r', '5']],
  ] as const) {
    const before = sink.deliveries.length
    const { status, said } = await run('smtp-source', [...base, '-t', to, ...args, `127.0.0.1:${smtp}`])
    t.equal(status, 0, said.slice(-300))
    const got = sink.deliveries.slice(before)
    t.equal(got.length, Number(args[args.indexOf('-m') + 1]), `${to}: each message once`)
    t.equal(new Set(got.map((one) => envelopeIn(one.octets))).size, got.length, 'each in an envelope of its own')
    t.notOk(
      got.some((one) => one.octets.includes('XXXXXXXXXXXXXXXXXXXX')),
      'and none in the clear',
    )
  }
})

t.test("nodemailer's pool, many at once, some to the same people", async (t) => {
  const transport = createTransport({
    host: '127.0.0.1',
    port: smtp,
    pool: true,
    maxConnections: 8,
    tls: { ca, servername: 'localhost' },
  })
  const count = 150
  const before = sink.deliveries.length
  const send = (n: number) => {
    const to = [`pool${n % 10}@example.org`, ...(n % 3 === 0 ? [`pool${n}@example.net`] : [])]
    return transport.sendMail({ from, to, subject: `Pool ${n}`, text: `${canary} ${n}`, html: `<p>${canary} ${n}</p>` })
  }
  const answers = await Promise.all(Array.from({ length: count }, (_, n) => send(n)))
  transport.close()
  t.ok(answers.every((answer) => answer.response.startsWith('250 2.0.0 envelope ') && answer.rejected.length === 0))
  t.equal(sink.deliveries.length - before, count, 'each delivered once')
  t.equal(new Set(answers.map((answer) => answer.response.split(' ')[3])).size, count)
})

t.test('a client that writes several messages without waiting gets one reply for each command', async (t) => {
  const client = await openDialogue(smtp)
  const mail = (n: number) =>
    `From: ${from}\r\nMessage-ID: <pipelined-${n}@acme.example>\r\n\r\n${canary} ${n}\r\n.\r\n`
  for (let n = 0; n < 5; n++) {
    client.write(`MAIL FROM:<${from}>\r\nRCPT TO:<pipe${n}@example.org>\r\nRCPT TO:<pipe@example.net>\r\nDATA\r\n`)
    const replies = [await client.reply(), await client.reply(), await client.reply(), await client.reply()]
    t.same(
      replies.map((reply) => reply.slice(0, 3)),
      ['250', '250', '250', '354'],
    )
    client.write(n < 4 ? `${mail(n)}NOOP\r\n` : `${mail(n)}QUIT\r\n`)
    t.match(await client.reply(), /^250 2\.0\.0 envelope /)
    t.match(await client.reply(), n < 4 ? /^250 / : /^221 /)
  }
  await client.quit()
  t.equal(sink.to('pipe@example.net').length, 5)
})

t.test('nothing of it is in what the provider saw, nor in a log', async (t) => {
  t.notOk(sink.seen.some((octets) => octets.includes(canary)))
  const logs = await scene.logs()
  for (const word of [canary, password, 'By swaks', 'Pool 1', 'By smtp-source']) t.notMatch(logs, word)
})
