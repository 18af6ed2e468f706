import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import t, { type Test } from 'tap'
import { loadConfig } from '../../gateway/config.ts'
import { addRule, type Office, openOffice } from './office.ts'

/** A clamd that finds the word `harmful`, and waits so long. */
type Daemon = { port: number; readonly seen: string[]; close(): Promise<void> }

async function startDaemon(port = 0): Promise<Daemon> {
  const seen: string[] = []
  const server: Server = createServer((socket) => {
    let text = ''
    socket.on('error', () => undefined)
    socket.on('data', (octets: Buffer) => {
      text += octets.toString('latin1')
      if (text === 'zVERSION\0') socket.end('ClamAV of the test\0')
      if (!text.endsWith('\0\0\0\0')) return
      seen.push(text)
      socket.end(text.includes('harmful') ? 'stream: Test.Harmful FOUND\0' : 'stream: OK\0')
    })
  }).listen(port, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    seen,
    async close() {
      server.close()
      await once(server, 'close')
    },
  }
}

let count = 0
function letter(body: string, subject = 'Offer') {
  count += 1
  return `From: anna@acme.example\nTo: kunde@example.org\nSubject: ${subject}\nMessage-ID: <s${count}@acme.example>\n\n${body}\n`
}

async function openScanned(t: Test, rule: string | null = null, scanner: Record<string, unknown> = {}) {
  const daemon = await startDaemon()
  const given = { kind: 'clamd', port: daemon.port, timeoutSeconds: 2, maxSize: 2_000_000, ...scanner }
  const office: Office = await openOffice(t, {}, { gateway: { scanner: given } })
  if (rule !== null) {
    await office.stopKeyServer()
    await addRule(office, rule)
    await office.startKeyServer()
  }
  return { daemon, office }
}

const metricsOf = async (office: Office) => (await fetch(`http://127.0.0.1:${office.opsPort}/metrics`)).text()

t.test('what is found harmful leaves neither sealed nor in the clear, and the reply names it', async (t) => {
  const { daemon, office } = await openScanned(t)
  t.teardown(() => daemon.close())
  t.match(await office.send('anna@acme.example', ['kunde@example.org'], letter('words')), /^250 /)
  t.match(daemon.seen[0], /\r\nSubject: Offer\r\n[\s\S]*words\r\n/, 'it saw the whole mail')
  for (const to of ['kunde@example.org', 'bert@acme.example']) {
    const reply = await office.send('anna@acme.example', [to], letter('this is harmful', 'hush-hush'))
    t.match(
      reply,
      /^554 5\.7\.0 a scanner found something harmful in the message: Test\.Harmful \(incident [\w-]{22}\)$/,
    )
  }
  const large = await office.send(
    'anna@acme.example',
    ['kunde@example.org'],
    letter('x'.repeat(900).concat('\n').repeat(2300)),
  )
  t.match(large, /^552 5\.3\.4 .*scanner/)
  t.equal(office.mails.length, 1)
  t.match(office.log(), /"reason":"Test.Harmful"/)
  t.match(office.log(), /ClamAV of the test.*the scanner answers/)
  t.notMatch(office.log(), /hush-hush|this is/)
  const metrics = await metricsOf(office)
  t.match(metrics, 'sealpost_gateway_scans_total{verdict="clean"} 1')
  t.match(metrics, 'sealpost_gateway_scans_total{verdict="infected"} 2')
  t.match(metrics, 'sealpost_gateway_refused_total{reason="infected"} 2')
})

t.test('while the scanner is away mail waits, and then goes once', async (t) => {
  const { daemon, office } = await openScanned(t)
  await daemon.close()
  const text = letter('words')
  for (let n = 0; n < 4; n++) {
    t.match(
      await office.send('anna@acme.example', ['kunde@example.org'], text),
      /^451 4\.3\.0 the scanner cannot answer/,
    )
  }
  t.equal(office.mails.length, 0)
  const ready = await fetch(`http://127.0.0.1:${office.opsPort}/health/ready`)
  t.match(await ready.text(), 'the scanner for acme.example does not answer')
  const again = await startDaemon(daemon.port)
  t.teardown(() => again.close())
  await new Promise((resolve) => setTimeout(resolve, 1100))
  t.match(await office.send('anna@acme.example', ['kunde@example.org'], text), /^250 /)
  t.equal(office.mails.length, 1)
  t.match(await metricsOf(office), 'sealpost_gateway_scans_total{verdict="failed"} 4')
})

t.test('a rule that asks what was found can let it leave, and no other', async (t) => {
  const rule =
    "  - {name: research, when: \"message.scan.name == 'Test.Harmful' && message.scan.verdict == 'infected' && recipient.address == 'lab@example.org'\", then: seal}"
  const { daemon, office } = await openScanned(t, rule)
  t.teardown(() => daemon.close())
  t.match(await office.send('anna@acme.example', ['lab@example.org'], letter('this is harmful')), /^250 /)
  t.match(await office.send('anna@acme.example', ['kunde@example.org'], letter('this is harmful')), /^554 5\.7\.0/)
  const both = await office.send(
    'anna@acme.example',
    ['lab@example.org', 'kunde@example.org'],
    letter('this is harmful'),
  )
  t.match(both, /^554 5\.7\.0 .*\(because of kunde@example\.org\)/)
  t.equal(office.mails.length, 1)
})

t.test('a scanner can be taken back and put in place without a restart', async (t) => {
  const { daemon, office } = await openScanned(t)
  t.teardown(() => daemon.close())
  const config = loadConfig(office.configFile)
  await office.gateway.reload({
    ...config,
    organizations: config.organizations.map((org) => ({ ...org, scanner: null })),
  })
  t.match(await office.send('anna@acme.example', ['kunde@example.org'], letter('this is harmful')), /^250 /)
  await office.gateway.reload(config)
  t.match(await office.send('anna@acme.example', ['kunde@example.org'], letter('this is harmful')), /^554 5\.7\.0/)
})

t.test('what is harmful can be kept for an officer, and does not leave meanwhile', async (t) => {
  const rule =
    '  - {name: quarantine, when: "message.scan.verdict == \'infected\'", then: hold, because: A scanner found something in it.}'
  const { daemon, office } = await openScanned(t, rule)
  t.teardown(() => daemon.close())
  t.match(await office.send('anna@acme.example', ['kunde@example.org'], letter('this is harmful')), /^250 /)
  t.notOk(office.mails.some(({ to }) => to.includes('kunde@example.org')))
})
