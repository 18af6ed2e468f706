import { once } from 'node:events'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { pino } from 'pino'
import { SMTPServer } from 'smtp-server'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { certs } from '../../cli/certs.ts'
import { revoke } from '../../cli/revoke.ts'
import { loadConfig } from '../../gateway/config.ts'
import { type Gateway, startGateway } from '../../gateway/gateway.ts'
import { createLog } from '../../gateway/log.ts'
import { loadConfig as loadKeyServerConfig } from '../../keyserver/config-file.ts'
import { type Server, startServer } from '../../keyserver/server.ts'
import { type Dialogue, openDialogue } from './dialogue.ts'

/** A mail as the provider got it. */
export type Mail = { readonly from: string; readonly to: readonly string[]; readonly text: string }

/** A real key server, a real gateway and a provider that does what the test says, in one process, for acme.example. */
export type Office = {
  readonly mails: Mail[]
  /** The provider's answer to a recipient: a code such as 550, or null to take it. */
  refuse: (recipient: string) => number | null
  /** The provider's answer to a content, after so many milliseconds. */
  delayMs: number
  /** What the provider does with a mail that it has taken. */
  pass: (mail: Mail) => Promise<void>
  readonly keyServer: () => Server
  readonly log: () => string
  readonly smtpPort: number
  readonly opsPort: number
  readonly policyFile: string
  readonly gateway: Gateway
  readonly configFile: string
  /** Of all that the gateway writes. */
  readonly data: string
  stopKeyServer(): Promise<void>
  startKeyServer(): Promise<void>
  stopProvider(): Promise<void>
  /** As an officer does. */
  revoke(envelope: string): Promise<void>
  /**
   * One message over a connection of its own, to the gateway or to another at `port`; gives the reply to its content, or the first refusal before.
   * Line ends become CRLF.
   */
  send(from: string, to: readonly string[], text: string, port?: number): Promise<string>
}

export type OfficeOptions = {
  /** Laid over the gateway's one listener, and its configuration. */
  readonly listener?: Readonly<Record<string, unknown>>
  readonly gateway?: Readonly<Record<string, unknown>>
  /** Laid over the organization in the key server's configuration. */
  readonly organization?: Readonly<Record<string, unknown>>
}

export async function openOffice(
  t: Test,
  limits: Record<string, number> = {},
  options: OfficeOptions = {},
): Promise<Office> {
  // Told before there is a folder: what is told later is done when that has been removed, under the processes' feet.
  let close: () => Promise<void> = async () => undefined
  t.teardown(() => close())
  const folder = t.testdir({ policies: {}, data: {} })
  const at = (...names: string[]) => join(folder, ...names)
  const said: string[] = []
  const io = { out: (line: string) => said.push(line), err: (line: string) => said.push(line) }
  await certs(['init', '--to', at('certs'), '--gateway', 'gw1', '--officer', 'officer1'], io)
  const policyFile = at('policies', 'acme.example.yaml')
  await copyFile(new URL('../../policies/acme.example.yaml', import.meta.url), policyFile)

  const mails: Mail[] = []
  const provider = openProvider(mails, () => office)
  await once(provider.server, 'listening')
  const providerPort = portOf(provider.server.address())

  let gatewaysPort = 0
  let server = await startKeyServer()
  async function startKeyServer(): Promise<Server> {
    await mkdir(at('data'), { recursive: true })
    await writeFile(at('keyserver.yaml'), stringify(keyServerConfig(gatewaysPort, providerPort, options.organization)))
    const time = { wall: () => Date.now(), elapsed: () => performance.now() }
    const started = await startServer(loadKeyServerConfig(at('keyserver.yaml')), {
      ...{ time, version: 'test', log: pino({ level: 'silent' }) },
    })
    gatewaysPort = Number(new URL(started.addresses.gateways).port)
    return started
  }

  await writeFile(at('gateway.yaml'), stringify(gatewayConfig(gatewaysPort, providerPort, limits, options)))
  const written = new PassThrough()
  let log = ''
  written.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  const gateway = await startGateway(loadConfig(at('gateway.yaml')), createLog('debug', written))
  let running = true
  let providerRunning = true
  const stopProvider = async () => {
    if (!providerRunning) return
    providerRunning = false
    await new Promise<void>((resolve) => provider.close(() => resolve()))
  }
  close = async () => {
    await gateway.close()
    if (running) await server.close()
    await stopProvider()
  }
  const smtpPort = listening(gateway, 'smtp-1')
  const office: Office = {
    mails,
    refuse: () => null,
    delayMs: 0,
    pass: async () => undefined,
    keyServer: () => server,
    log: () => log,
    smtpPort,
    opsPort: listening(gateway, 'ops'),
    policyFile,
    gateway,
    configFile: at('gateway.yaml'),
    data: at('data', 'gateway'),
    async stopKeyServer() {
      running = false
      await server.close()
    },
    async startKeyServer() {
      server = await startKeyServer()
      running = true
    },
    stopProvider,
    async revoke(envelope) {
      const files = ['cert', 'key'].flatMap((kind) => [
        `--${kind}`,
        at('certs', `officer-officer1.${kind === 'key' ? 'key' : 'pem'}`),
      ])
      const server = ['--keyserver', `https://localhost:${gatewaysPort}`, '--ca', at('certs', 'ca.pem'), ...files]
      await revoke(['acme.example', envelope, '--reason', 'a test', ...server], io)
    },
    send: (from, to, text, port = smtpPort) => send(port, from, to, text),
  }
  return office
}

/** Adds a rule before all others of the policy. */
export async function addRule(office: Office, rule: string): Promise<void> {
  const text = await readFile(office.policyFile, 'utf8')
  await writeFile(office.policyFile, text.replace('\noutbound:\n', `\noutbound:\n${rule}\n`))
}

async function send(port: number, from: string, to: readonly string[], text: string): Promise<string> {
  const client: Dialogue = await openDialogue(port)
  try {
    await client.reply()
    const commands = ['EHLO client.example', `MAIL FROM:<${from}>`, ...to.map((one) => `RCPT TO:<${one}>`), 'DATA']
    for (const command of commands) {
      const said = await client.say(command)
      if (!/^[23]/.test(said)) return said
    }
    const wire = text.replace(/\r?\n/g, '\r\n').replace(/^\./gm, '..')
    client.write(`${wire}${wire.endsWith('\r\n') ? '' : '\r\n'}.\r\n`)
    return await client.reply()
  } finally {
    client.destroy()
  }
}

function openProvider(mails: Mail[], office: () => Office): SMTPServer {
  const server = new SMTPServer({
    ...{ authOptional: true, disabledCommands: ['AUTH', 'STARTTLS'], disableReverseLookup: true, logger: false },
    closeTimeout: 100,
    onRcptTo(address, _session, callback) {
      const code = office().refuse(address.address)
      callback(code === null ? null : Object.assign(new Error('as the test says'), { responseCode: code }))
    },
    onData(stream, session, callback) {
      const chunks: Buffer[] = []
      const { mailFrom, rcptTo } = session.envelope
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('error', () => undefined)
      stream.on('end', () => {
        const mail = {
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          text: Buffer.concat(chunks).toString('latin1'),
        }
        setTimeout(() => {
          mails.push(mail)
          callback(null, `queued as ${mails.length}`)
          void office().pass(mail)
        }, office().delayMs)
      })
    },
  })
  server.on('error', () => undefined)
  server.listen(0, '127.0.0.1')
  return server
}

function keyServerConfig(gatewaysPort: number, providerPort: number, organization: object = {}) {
  return {
    organizations: { 'acme.example': { from: 'no-reply@acme.example', domains: ['acme.example'], ...organization } },
    ...{ policies: 'policies', database: 'data/keyserver.sqlite', keyStore: 'data/keys' },
    kek: { file: 'data/organization.key' },
    public: { host: '127.0.0.1', port: 0, url: 'http://localhost:8443' },
    gatewayListener: {
      ...{ host: '127.0.0.1', port: gatewaysPort },
      tls: { cert: 'certs/keyserver.pem', key: 'certs/keyserver.key', ca: 'certs/ca.pem' },
    },
    ops: { host: '127.0.0.1', port: 0 },
    gateways: { gw1: { organizations: ['acme.example'], copies: 'http://localhost:8446' } },
    officers: { officer1: { organizations: ['acme.example'] } },
    mail: { host: '127.0.0.1', port: providerPort, security: 'none' },
  }
}

function gatewayConfig(
  gatewaysPort: number,
  providerPort: number,
  limits: Record<string, number>,
  options: OfficeOptions,
) {
  const cert = { cert: 'certs/gateway-gw1.pem', key: 'certs/gateway-gw1.key', ca: 'certs/ca.pem' }
  return {
    ...{ name: 'gw1.acme.example', data: 'data/gateway' },
    organizations: { 'acme.example': { name: 'Acme', nextHop: { host: '127.0.0.1', port: providerPort } } },
    listeners: [
      { host: '127.0.0.1', port: 0, clients: [{ org: 'acme.example', from: 'anyone' }], ...options.listener },
    ],
    // Long enough that nothing is found out by polling in a test.
    keyServer: { url: `https://localhost:${gatewaysPort}`, ...cert, timeoutSeconds: 3, pollSeconds: 3600 },
    copies: { host: '127.0.0.1', port: 0, origins: ['http://localhost:8443'] },
    ops: { host: '127.0.0.1', port: 0 },
    limits,
    ...options.gateway,
  }
}

function listening(gateway: Gateway, name: string): number {
  const found = gateway.addresses.find((one) => one.name === name)
  if (found === undefined) throw new Error(`${name} does not listen`)
  return found.port
}

function portOf(address: ReturnType<SMTPServer['server']['address']>): number {
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
