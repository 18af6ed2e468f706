import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { freePorts } from '../../cli/house.ts'
import { openDialogue } from './dialogue.ts'
import { openScene, policyOf, type Scene } from './house.ts'
import { fetchNeighbours, type Neighbours, PASSWORD } from './neighbours.ts'
import { envelopeIn, sealedCopyIn, startSink } from './sink.ts'

t.setTimeout(170_000)

/*
 * Mail servers and clients of others on both sides of the gateway, once each: msmtp, OpenSMTPD and Dovecot's submission before it with Exim behind,
 * then Exim before it with OpenSMTPD behind. What they hand in arrives sealed, and opens to what was written.
 */
const from = 'anna@acme.example'
const neighbours = fetchNeighbours()
const absent = typeof neighbours === 'string' ? neighbours : false

const mailOf = (to: string) =>
  `From: Anna <${from}>\nTo: ${to}\nSubject: By ${to}\nMessage-ID: <${to}>\nX-Inside: yes\n\nthe secret of ${to}\n.\n..\nend\n`

t.test('neighbours on both sides', { skip: absent }, async (t) => {
  if (typeof neighbours === 'string') return
  t.teardown(() => neighbours.stop())
  const [exim = 0, opensmtpd = 0, dovecot = 0, eximFront = 0, opensmtpdFront = 0] = await freePorts(5)

  await t.test('msmtp, OpenSMTPD and Dovecot hand in, Exim takes', async (t) => {
    await neighbours.exim(exim)
    const scene = await openScene(t, sceneWith(exim, await startSink()))
    const { smtp } = scene.house.ports
    await neighbours.opensmtpd(opensmtpdFront, smtp)
    await neighbours.dovecot(dovecot, smtp)

    const plain = await neighbours.msmtp(
      [`--port=${smtp}`, '--tls=off', '--auth=off', `--from=${from}`, 'msmtp@example.org'],
      mailOf('msmtp@example.org'),
    )
    t.equal(plain.status, 0, plain.said)
    const signIn = ['--auth=plain', '--user=anna', `--passwordeval=echo ${PASSWORD}`]
    const signedIn = await neighbours.msmtp(
      [`--port=${dovecot}`, '--tls=off', ...signIn, `--from=${from}`, 'dovecot@example.org'],
      mailOf('dovecot@example.org'),
    )
    t.equal(signedIn.status, 0, signedIn.said)
    t.match(await handIn(opensmtpdFront, 'opensmtpd@example.org'), /^250 /)
    for (const to of ['msmtp@example.org', 'dovecot@example.org', 'opensmtpd@example.org'])
      await checkArrived(t, neighbours, scene, to)
  })

  await t.test('Exim hands in, OpenSMTPD takes', async (t) => {
    await neighbours.opensmtpd(opensmtpd)
    const scene = await openScene(t, sceneWith(opensmtpd, await startSink()))
    await neighbours.exim(eximFront, scene.house.ports.smtp)
    t.match(await handIn(eximFront, 'exim@example.org'), /^250 /)
    await checkArrived(t, neighbours, scene, 'exim@example.org')
  })
})

function sceneWith(port: number, sink: Awaited<ReturnType<typeof startSink>>) {
  return { sink, provider: { host: '127.0.0.1', port }, policy: policyOf() }
}

async function handIn(port: number, to: string): Promise<string> {
  const client = await openDialogue(port)
  const answer = await client.send({ from, to: [to], octets: Buffer.from(mailOf(to).replaceAll('\n', '\r\n')) })
  await client.quit()
  return answer
}

async function checkArrived(test: Test, { kept, said }: Neighbours, scene: Scene, to: string): Promise<void> {
  const mailsFor = () => kept().filter((mail) => mail.toString('latin1').includes(`\r\nSubject: By ${to}\r\n`))
  for (let waited = 0; waited < 20_000 && mailsFor().length === 0; waited += 100) await sleep(100)
  const [mail, more] = mailsFor()
  if (mail === undefined) {
    test.fail(`nothing came for ${to}: ${said().slice(-800)}`)
    return
  }
  test.equal(more, undefined, `${to} has one mail`)
  test.notMatch(mail.toString('latin1'), /the secret of|X-Inside/, 'sealed')
  const envelope = envelopeIn(mail)
  const reader = await scene.prove(envelope, to)
  const { message } = await reader.open(envelope, sealedCopyIn(mail))
  const text = Buffer.from(message).toString('latin1')
  test.match(text, /^X-Inside: yes\r$/m)
  test.match(text, `\r\n\r\nthe secret of ${to}\r\n.\r\n..\r\nend\r\n`, 'it opens to what was written')
}
