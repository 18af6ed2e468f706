import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { freePorts } from '../../cli/house.ts'
import { hashPassword } from '../../gateway/accounts.ts'
import { converse } from '../dialogues/conversation.ts'
import { type DialogueFile, octetsOf, readDialogues, type Step } from '../dialogues/dialogue-file.ts'
import { startNextHop } from '../dialogues/next-hop.ts'
import { sendOnce } from '../scenarios/dialogue.ts'
import { openScene, policyOf } from '../scenarios/house.ts'
import { startSink } from '../scenarios/sink.ts'

t.setTimeout(170_000)

/*
 * The conversations of test/dialogues (see README.md there), one after another, with one running gateway between a client and a next hop that
 * say what the file says. Mail to clear.example passes as it is; all other mail is sealed.
 */
const dialogues = readDialogues(fileURLToPath(new URL('../dialogues/', import.meta.url)))
const hop = await startNextHop()
const [signedIn = 0, stranger = 0, lenient = 0] = await freePorts(3)
const accounts = join(t.testdir(), 'accounts.yaml')
const hash = await hashPassword('a long password')
writeFileSync(accounts, stringify([{ user: 'anna', org: 'acme.example', hash }]), { mode: 0o600 })
const tls = { mode: 'starttls', cert: 'certs/gateway.pem', key: 'certs/gateway.key' }
const host = '127.0.0.1'
const anyone = () => [{ org: 'acme.example', from: 'anyone' }]
const scene = await openScene(t, {
  sink: await startSink(),
  provider: { host, port: hop.port },
  policy: policyOf(["{name: clear, when: recipient.domain == 'clear.example', then: pass}"]),
  gateway: ({ smtp }) => ({
    // What waits in the spool does not come back while the next hop plays other parts.
    spool: { retrySeconds: 1800 },
    limits: { size: 200_000, recipients: 5, idleSeconds: 3, dataSeconds: 4, budgetSeconds: 4 },
    listeners: [
      { name: 'submission', host, port: smtp, tls: { ...tls }, clients: anyone() },
      { name: 'signed-in', host, port: signedIn, tls: { ...tls }, accounts },
      { name: 'stranger', host, port: stranger, clients: [{ org: 'acme.example', from: ['192.0.2.0/24'] }] },
      { name: 'lenient', host, port: lenient, clients: anyone(), bareNewlines: 'normalise' },
    ],
  }),
})
const { smtp, gatewayOps } = scene.house.ports
const ports: Readonly<Record<string, number>> = { submission: smtp, 'signed-in': signedIn, stranger, lenient }
t.teardown(() => hop.close())

const says = (dialogue: DialogueFile, key: string) => dialogue.steps.filter((step) => step.key === key)
const words = ['at', 'mails', 'got', 'got-not', 'heard', 'heard-not']

// Those that leave the next hop alone first: what a gateway has learnt of a bad one does not touch them.
for (const dialogue of [...dialogues].sort((a, b) => a.rules.length - b.rules.length)) {
  t.test(`${dialogue.shows} (${dialogue.name})`, async (t) => {
    if (dialogue.rules.length > 0) await untilServed()
    hop.follow(dialogue.rules)
    const mails = hop.mails.length
    const heard = hop.heard.length
    const [at] = says(dialogue, 'at')
    const port = ports[at?.text ?? 'submission']
    if (port === undefined) throw new Error(`${dialogue.name}: there is no listener ${at?.text}`)
    const client = dialogue.steps.filter((step) => !words.includes(step.key))
    await converse(port, client).then(
      () => t.pass('as written'),
      (error: unknown) => t.fail(`${dialogue.name}: ${error instanceof Error ? error.message : String(error)}`),
    )
    checkHop(t, dialogue, mails, heard)
  })
}

function checkHop(test: Test, dialogue: DialogueFile, mails: number, heard: number): void {
  const got = hop.mails.slice(mails)
  for (const { text } of says(dialogue, 'mails')) test.equal(got.length, Number(text), 'mails at the next hop')
  const contents = got.map((mail) => mail.octets).join('\n')
  check(test, says(dialogue, 'got'), (text) => contents.includes(text))
  check(test, says(dialogue, 'got-not'), (text) => !contents.includes(text))
  const commands = hop.heard.slice(heard).join('\n')
  check(test, says(dialogue, 'heard'), (text) => commands.includes(text))
  check(test, says(dialogue, 'heard-not'), (text) => !commands.includes(text))
}

function check(test: Test, steps: readonly Step[], holds: (text: string) => boolean): void {
  for (const { key, text, line } of steps) test.ok(holds(octetsOf(text)), `line ${line}: ${key}: ${text}`)
}

/** Until the gateway trusts the next hop again. */
async function untilServed(): Promise<void> {
  hop.follow([])
  const octets = Buffer.from('From: anna@acme.example\r\nSubject: probe\r\n\r\nprobe\r\n')
  const mail = { from: 'anna@acme.example', to: ['probe@clear.example'], octets }
  for (let waited = 0; waited < 20_000; waited += 250) {
    if ((await sendOnce(smtp, mail)).startsWith('250')) return
    await sleep(250)
  }
  throw new Error('the gateway does not deliver any more')
}

t.test('after all of them the gateway lives, serves, and logged no failure of its own', async (t) => {
  await untilServed()
  t.equal((await fetch(`http://127.0.0.1:${gatewayOps}/health/live`)).status, 200)
  t.notMatch(await scene.logs(), /"level":(?:50|60|"error"|"fatal")/)
  t.ok(dialogues.length >= 60, `${dialogues.length} dialogues`)
})
