import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { simpleParser } from 'mailparser'
import t from 'tap'
import type { Recipient } from '../../cli/recipient.ts'
import {
  type CorpusMessage,
  fieldsOf,
  hasBareCr,
  lessPrivateFields,
  readCorpus,
  split,
  withoutBareCr,
} from './corpus.ts'
import { type Dialogue, openDialogue } from './dialogue.ts'
import { openScene, policyOf, type Scene } from './house.ts'
import { leaks, secretLines, visible } from './secrecy.ts'
import { envelopeIn, type Sink, sealedCopyIn, startSink } from './sink.ts'

/*
 * The whole way: client -> gateway -> provider (a sink) -> the reader's code, with the key server between. Messages are sent with CRLF for
 * each LF that stood alone, and else as they are: with mbox lines, NULs, 8-bit octets, over-long lines and broken MIME.
 */
const from = 'anna@acme.example'
const to = 'bob@example.org'

t.setTimeout(170_000)

const corpus = readCorpus()
const absent = corpus === null ? '../shared/corpus is absent: skipped' : false
/** What is sent, each once: some messages of the corpus differ only in their line ends, or in trace fields, which count for no retry. */
const messages = new Map<string, CorpusMessage>()
for (const message of corpus ?? []) {
  const octets = hasBareCr(message.octets) ? withoutBareCr(message.octets) : message.octets
  const key = lessTrace(octets)
  if (!messages.has(key)) messages.set(key, { ...message, octets })
}

t.test('every message of the corpus leaves sealed and comes out as it was accepted', { skip: absent }, async (t) => {
  const all = corpus ?? []
  const bare = all.filter(({ octets }) => hasBareCr(octets))
  t.comment(`${all.length} messages; line ends made CRLF in ${all.filter((one) => one.lineEndsChanged).length}`)
  t.comment(`${bare.length} with a CR that stands alone are refused, and sent again with CRLF in its place`)
  t.comment(`${messages.size} are left where those that are the same octets now count once`)
  const sink = await startSink()
  const scene = await openScene(t, { sink, policy: policyOf() })
  const client = await openDialogue(scene.house.ports.smtp)
  for (const { octets } of bare) {
    t.match(await client.send({ from, to: [to], octets }), /^550 5\.5\.2 .*bare CR in line \d+/, 'names the bare CR')
  }
  t.equal(sink.seen.length, 0, 'nothing of a refused message leaves')

  const run = await openRun(client, scene, sink)
  for (const message of messages.values()) {
    const faults = await run.check(message).catch((error: unknown) => [String(error)])
    if (faults.length > 0) t.fail(`${message.name}: ${faults.join('; ')}`)
    if (faults.length > 0) t.comment((await scene.logs()).match(/^.*"level":"(?:warn|error)".*$/gm)?.at(-1) ?? '')
  }
  t.equal(run.outgoing.length, messages.size, 'each was delivered once')
  t.ok(run.found() > messages.size / 2, 'what is looked for would be found in a mail that left in the clear')
  const [first] = messages.values()
  const again = await client.send({ from, to: [to], octets: first?.octets ?? Buffer.alloc(0) })
  t.match(again, /^250 /, 'the same message once more is accepted')
  t.equal(run.outgoing.length, messages.size)
  await client.quit()

  const logs = await scene.logs()
  const told = await Promise.all([...messages.values()].map(({ octets }) => logged(logs, octets)))
  t.same(told.flat(), [], 'no line of a message, and no subject, is in a log')

  const folder = t.testdir()
  await Promise.all(
    run.outgoing.map((octets, i) => writeFile(join(folder, `${String(i).padStart(4, '0')}.eml`), octets)),
  )
  const python = spawnSync('python3', ['-c', pythonCheck, folder], { encoding: 'utf8' })
  if (python.error !== undefined) t.comment('python3 is absent: its parser was not asked')
  else t.equal(python.stdout + python.stderr, '', "Python's email, strict, finds no defect")
})

/** One client, one provider and one recipient, whose session serves for all that is opened. */
async function openRun(client: Dialogue, scene: Scene, sink: Sink) {
  const outgoing: Buffer[] = []
  let found = 0
  const send = async (octets: Buffer) => {
    const before = sink.deliveries.length
    const reply = await client.send({ from, to: [to], octets })
    const [delivery, more] = sink.deliveries.slice(before)
    if (!reply.startsWith('250 ') || delivery === undefined || more !== undefined) throw new Error(reply)
    return delivery
  }
  const { octets: neutral } = await send(
    Buffer.from('From: anna@acme.example\r\nTo: bob@example.org\r\nSubject: .\r\n\r\n.\r\n'),
  )
  // What Sealpost itself puts around every envelope.
  const template = split((await visible(neutral)).replaceAll('\n\n', '\r\n\r\n')).rest
  const recipient = await scene.prove(envelopeIn(neutral), to)

  async function check({ octets }: CorpusMessage): Promise<string[]> {
    const { octets: mail, smtpUtf8 } = await send(octets)
    outgoing.push(mail)
    const faults = await formFaults(mail, smtpUtf8)
    const out = await opened(recipient, mail, outgoing.length % 8 === 0)
    if (!lessPrivateFields(octets).equals(out)) faults.push('what comes out is not what was accepted')
    const lines = await secretLines(octets)
    const seen = await leaks(lines, { message: octets, outgoing: mail, template })
    if ((await leaks(lines, { message: octets, outgoing: octets, template })).length > 0) found += 1
    if (seen.length > 0) faults.push(`the provider saw ${JSON.stringify(seen.slice(0, 3))}`)
    return faults
  }
  return { outgoing, check, found: () => found }
}

async function opened(recipient: Recipient, mail: Buffer, byLink: boolean): Promise<Uint8Array> {
  const envelope = envelopeIn(mail)
  const sealed = byLink ? await recipient.fetchCopy(envelope) : sealedCopyIn(mail)
  return (await recipient.open(envelope, sealed)).message
}

/** What of a message stands in the logs: of its text the beginning is looked for, and its subject. */
async function logged(logs: string, octets: Buffer): Promise<string[]> {
  const { subject = '' } = await simpleParser(octets)
  const lines = [...(await secretLines(octets))].slice(0, 20)
  return [...lines, ...(subject.length > 12 ? [subject] : [])].filter((line) => logs.includes(line))
}

/** What is wrong with the outgoing mail as a mail. */
async function formFaults(mail: Buffer, smtpUtf8: boolean): Promise<string[]> {
  const text = mail.toString('latin1')
  const faults: string[] = []
  if (!smtpUtf8 && /[^\r\n\t\x20-\x7e]/.test(text)) faults.push('not 7-bit')
  if (text.split('\r\n').some((line) => line.length > 998 || /[\r\n]/.test(line)))
    faults.push('a line too long or bare')
  const { attachments, from: author, html, text: notice } = await simpleParser(mail)
  if (attachments.map((one) => one.filename).join() !== 'protected-message.sealpost') faults.push('attachments')
  if (author === undefined) faults.push('no From')
  if (notice === undefined || !html) faults.push('no notice')
  return faults
}

t.test('the sample policy passes what is foreign, octet for octet, and seals the rest', { skip: absent }, async (t) => {
  const sink = await startSink()
  const scene = await openScene(t, { sink })
  const client = await openDialogue(scene.house.ports.smtp)
  const counts = { passed: 0, sealed: 0 }
  for (const { name, octets } of messages.values()) {
    const before = sink.deliveries.length
    const reply = await client.send({ from, to: [to], octets })
    // A subject that seems to hold a password does not leave; none of the corpus should.
    if (!reply.startsWith('250 ')) t.fail(`${name}: ${reply}`)
    const mail = sink.deliveries[before]?.octets.toString('latin1') ?? ''
    const passed = passedFrom(mail)
    const foreign = hasForeignAuthor(octets)
    if (passed === null) counts.sealed += 1
    else counts.passed += 1
    if (foreign !== (passed !== null)) t.fail(`${name}: ${passed === null ? 'sealed' : 'passed'}`)
    if (passed !== null && passed !== lessPrivateFields(octets).toString('latin1')) t.fail(`${name}: changed`)
  }
  await client.quit()
  t.comment(`${counts.passed} passed, ${counts.sealed} sealed`)
  t.ok(counts.passed > 0 && counts.sealed > 0, 'both verdicts are met')
})

/** The mail without Received and stamp of our own; null where it is a sealed one. */
function passedFrom(mail: string): string | null {
  if (mail.includes('protected-message.sealpost')) return null
  const ours = /^Received: [^\r]*(?:\r\n[ \t][^\r]*)*\r\nSealpost-Handled: [^\r]*\r\n/.exec(mail)
  return ours === null ? 'no stamps' : mail.slice(ours[0].length)
}

function lessTrace(octets: Buffer): string {
  const { header, rest } = split(octets.toString('latin1'))
  return (
    fieldsOf(header)
      .filter((field) => !/^(?:received|return-path|delivered-to)[ \t]*:/i.test(field))
      .join('') + rest
  )
}

/** By reading of its own: an address can be read in From, and not all that stands there is ours. */
function hasForeignAuthor(octets: Buffer): boolean {
  const header = split(octets.toString('latin1')).header.replace(/\r\n(?=[ \t])/g, '')
  const value = /^From[ \t]*:(.*)$/im.exec(header)?.[1] ?? ''
  const entries = value
    .replace(/\((?:[^()\\]|\\.)*\)/g, '')
    .replace(/\s*([.@])\s*/g, '$1')
    .split(/,(?=[^"]*(?:"[^"]*"[^"]*)*$)/)
  const authors = entries.map((entry) => /<([^<>\s]+@[^<>\s]+)>\s*$|^\s*([^\s<>]+@[^\s<>]+)\s*$/.exec(entry))
  return (
    authors.some((author) => author !== null) &&
    authors.some((author) => !/@acme\.example>?\s*$/i.test(author?.[0] ?? ''))
  )
}

const pythonCheck = `
import sys, os, email, email.policy
for name in sorted(os.listdir(sys.argv[1])):
    data = open(os.path.join(sys.argv[1], name), 'rb').read()
    try:
        message = email.message_from_bytes(data, policy=email.policy.strict)
        for part in message.walk():
            for key, value in part.items(): str(value)
            if not part.is_multipart(): part.get_content()
            if part.defects: print(name, part.defects)
    except Exception as error:
        print(name, type(error).__name__, error)
`
