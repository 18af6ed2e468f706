import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { createRecipient } from '../../cli/recipient.ts'
import { run } from '../../cli/run.ts'
import { trace } from '../../cli/trace.ts'
import { loadConfig } from '../../keyserver/config-file.ts'
import { startServer } from '../../keyserver/server.ts'
import { sendOnce } from '../scenarios/dialogue.ts'
import { codeIn, openScene } from '../scenarios/house.ts'
import { envelopeIn, sealedCopyIn, startSink } from '../scenarios/sink.ts'
import { capture } from './capture.ts'

t.setTimeout(120_000)

/* Where is my mail? Asked of a running house, for every way that a mail can go. */
const anna = 'anna@acme.example'
const words = 'the words that nobody is shown'
const sink = await startSink({ refuse: (to) => (to === 'nobody@example.org' ? '550 5.1.1 no such\u0007 user' : null) })
const scene = await openScene(t, { sink })
const { house } = scene
const traceKey = join(house.folder, 'trace.key')
const known = ['--database', house.database, '--trace-key', traceKey]

async function ask(...argv: readonly string[]) {
  const io = capture()
  const exit = await run(['trace', ...argv], io)
  return { exit, text: io.text(), errors: io.errors() }
}

let count = 0
async function send(to: readonly string[], subject = 'Our offer'): Promise<string> {
  count++
  const id = `<trace-${count}@acme.example>`
  const header = `From: ${anna}\r\nTo: ${to.join(', ')}\r\nSubject: ${subject}\r\nMessage-ID: ${id}\r\n`
  await sendOnce(house.ports.smtp, { from: anna, to, octets: Buffer.from(`${header}\r\n${words}\r\n`) })
  return id
}

const last = () => sink.deliveries.at(-1)?.octets ?? Buffer.alloc(0)

t.test('a mail that was delivered: rule, answer of the next hop, and until when it opens', async (t) => {
  const id = await send(['delivered@example.org'])
  const { exit, text } = await ask(id, ...known)
  t.equal(exit, 0)
  t.match(text, new RegExp(`^Envelope ${envelopeIn(last())} of acme\\.example$`, 'm'))
  t.match(text, /^ {2}from {6}anna@acme\.example$/m)
  t.match(text, /^ {2}accepted {2}20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC at gateway gw1$/m)
  t.match(text, /^ {2}verdict {3}sealed, by rule "default" \(policy [0-9a-f]{12}\)$/m)
  t.match(text, /^ {2}now {7}can be opened until 20/m)
  t.match(text, /^ {2}delivered@example\.org {2}taken by the next hop 20[\d: -]{17} \(250 .+\); not opened$/m)
  t.match(text, /accepted at gateway gw1: to be sealed, by rule "default", for delivered@example\.org/)
  t.notMatch(text, 'lies sealed', 'the keys lie beside the database')
})

t.test('one recipient refused by the provider: in its words, which move no cursor', async (t) => {
  const { text } = await ask(await send(['some@example.org', 'nobody@example.org']), ...known)
  t.match(
    text,
    /nobody@example\.org {2}REFUSED by the next hop .* \(550 .*no such\S* user.*\), and the sender was told/,
  )
  t.match(text, /some@example\.org {4}taken by the next hop/)
  t.match(text, /next hop REFUSED it for nobody@example\.org: 550/)
  t.notMatch(text, '\u0007')
})

t.test('one refused by a rule, and one that a rule let pass', async (t) => {
  const refused = await ask(await send(['bob@example.org'], 'password: swordfish'), ...known)
  t.match(refused.text, /verdict {3}refused, by rule "password-in-subject"/)
  t.match(refused.text, /now {7}nothing left the house/)
  t.match(refused.text, /bob@example\.org {2}refused here by rule "password-in-subject"\n/)
  t.notMatch(refused.text, 'swordfish')
  const passed = await ask(await send(['carl@acme.example']), ...known)
  t.match(passed.text, /verdict {3}passed unsealed, by rule "internal"/)
  t.match(passed.text, /carl@acme\.example {2}taken by the next hop .*\)\n/)
})

t.test('a mail for two kinds of recipients is told as both its parts', async (t) => {
  const { text } = await ask(await send(['carl@acme.example', 'bob@example.org']), ...known)
  t.equal(text.match(/^Envelope /gm)?.length, 2)
})

t.test('code asked for, answered wrongly, opened, revoked, refused: each with who and from where', async (t) => {
  const id = await send(['reader@example.org'])
  const mail = last()
  const envelope = envelopeIn(mail)
  const stranger = await createRecipient({ origin: house.origin, fetch })
  await stranger.askCode(envelope, 'reader@example.org')
  await sink.wait(
    'the code',
    ({ octets, recipients }) => recipients.includes('reader@example.org') && codeIn(octets) !== null,
  )
  await t.rejects(stranger.answer('00000000'), { code: 'wrong-code' })
  const reader = await scene.prove(envelope, 'reader@example.org')
  await reader.open(envelope, sealedCopyIn(mail))
  const sender = await scene.prove(envelope, anna)
  await sender.revoke(envelope)
  await t.rejects(reader.release(sealedCopyIn(mail)), { code: 'revoked' })
  const { text } = await ask(id, ...known)
  t.match(text, /now {7}revoked 20.* UTC: nobody can open it any more/)
  t.match(text, /opened once, last 20[\d: -]{17}; 2 codes mailed; wrong code once; refused once$/m)
  for (const line of [
    /code mailed to reader@example\.org, asked for from 127\.0\.0\.1$/m,
    /wrong code for reader@example\.org, from 127\.0\.0\.1$/m,
    /reader@example\.org proved the address by a code/,
    /OPENED by reader@example\.org, rule "recipients", from 127\.0\.0\.1$/m,
    /REVOKED by the sender anna@acme\.example$/m,
    /NOT opened by reader@example\.org: it is revoked/,
  ]) {
    t.match(text, line)
  }
  const codes = sink.deliveries.map(({ octets }) => codeIn(octets)).filter((code) => code !== null)
  t.ok(codes.length >= 3)
  for (const secret of [...codes, words]) t.notMatch(text, secret, 'no code and no content is shown')
  t.match(
    (await ask(`${house.origin}/m/${envelope}`, '--database', house.database)).text,
    text.trimEnd(),
    'or by the link',
  )
})

t.test('an address finds its mails: one is told, several are listed', async (t) => {
  const one = await ask('delivered@example.org', '--database', house.database)
  t.match(one.text, /^Envelope [\w-]{22} of acme\.example$/m)
  const many = await ask('ANNA@acme.example', '--database', house.database)
  t.match(
    many.text.split('\n')[0],
    /^[\w-]{22} {2}20.* anna@acme\.example to reader@example\.org {2}sealed, revoked, rule "default"$/,
  )
  t.match(many.text, /to \S+@\S+ and 1 more {2}sealed, rule "default"/)
})

t.test('JSON says the same for a program', async (t) => {
  const { text } = await ask('delivered@example.org', '--database', house.database, '--json')
  t.match(JSON.parse(text), {
    envelopes: [
      {
        organization: 'acme.example',
        verdict: 'seal',
        sender: anna,
        recipients: [{ address: 'delivered@example.org', state: 'sent', answer: { outcome: 'sent', status: '250' } }],
      },
    ],
  })
})

t.test('a copy without the keys: the words of others stay sealed, and it says so', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-trace-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const copy = join(folder, 'copy.sqlite')
  for (const end of ['', '-wal']) await copyFile(house.database + end, copy + end)
  const bare = await ask('delivered@example.org', '--database', copy)
  t.match(bare.text, /taken by the next hop 20[\d: -]{17} \(250\); not opened/)
  t.match(bare.text, /lies sealed beside the log/)
  const keys = ['--key-store', join(house.folder, 'keyserver', 'keys')]
  const kek = join(house.folder, 'keyserver', 'organization.key')
  t.match(
    (await ask('delivered@example.org', '--database', copy, ...keys, '--kek', kek)).text,
    /\(250 .+\); not opened/,
  )
  t.match(await ask('delivered@example.org', '--database', copy, ...keys), {
    exit: 2,
    errors: /give --key-store and --kek both/,
  })
  const open = join(folder, 'open.key')
  await copyFile(kek, open)
  await chmod(open, 0o644)
  t.match(await ask('x@example.org', '--database', copy, ...keys, '--kek', open), { exit: 78, errors: /chmod 600/ })
})

t.test('what is asked wrongly, or not known, is answered with what to do', async (t) => {
  const database = ['--database', house.database]
  t.match(await ask(), { exit: 2, errors: /which Message-ID/ })
  t.match(await ask('x@example.org'), { exit: 2, errors: /--database/ })
  t.match(await ask('<x@acme.example>', ...database), { exit: 2, errors: /--trace-key/ })
  t.match(await ask('nothing', ...database), { exit: 2, errors: /no Message-ID, address or envelope id/ })
  t.match(await ask('<x@acme.example>', ...known), { exit: 1, errors: /^Nothing is known of .*sealpost queue list/ })
  t.match(await ask('x@example.org', ...database, '--log', 'other.example'), { exit: 1 })
  t.match(await ask('x@example.org', '--database', '/nowhere.sqlite'), { exit: 2, errors: /there is no such file/ })
  const other = join(house.folder, 'other.sqlite')
  await writeFile(other, 'not a database at all')
  t.match(await ask('x@example.org', '--database', other), { exit: 2, errors: /cannot be read as a database/ })
})

t.test('an expired one says since when, and who tried', async (t) => {
  const id = await send(['late@example.org'])
  const mail = last()
  await scene.keyserver.stop()
  const month = 31 * 86_400_000
  const server = await startServer(loadConfig(join(house.folder, 'keyserver.yaml')), {
    log: pino({ level: 'silent' }),
    version: '0.0.0',
    time: { wall: () => Date.now() + month, elapsed: () => performance.now() + month },
  })
  t.teardown(() => server.close())
  const late = await scene.prove(envelopeIn(mail), 'late@example.org')
  await t.rejects(late.release(sealedCopyIn(mail)), { code: 'expired' })
  const io = capture()
  t.equal(await trace([id, ...known], io, Date.now() + month), 0)
  t.match(io.text(), /now {7}expired 20.* UTC: nobody can open it any more/)
  t.match(io.text(), /NOT opened by late@example\.org: it has expired, from 127\.0\.0\.1/)
})
