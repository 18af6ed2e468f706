import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildHouse, freePorts, type House, type NextHop, type Ports, type Running } from '../../cli/house.ts'
import { createRecipient, type Recipient } from '../../cli/recipient.ts'
import type { Sink } from './sink.ts'

/** A house of real processes with a provider of the test's own. It ends, and goes from the disk, with the test. */
export type Scene = {
  readonly house: House
  readonly keyserver: Running
  readonly gateway: Running
  /** A recipient who has proven this address, by a code asked for with this envelope and taken from the provider's mail. */
  prove(envelope: string, address: string): Promise<Recipient>
  /** All that the processes have logged so far. */
  logs(): Promise<string>
  /** Waits until /health/ready of this port says so (true) or not (false), and gives what it says. */
  ready(port: number, wanted: boolean): Promise<string>
}

export type SceneOptions = {
  readonly sink: Sink
  /** In place of the sink for sealed mail, such as a Postfix. */
  readonly provider?: NextHop
  readonly policy?: string
  /** Laid over the configurations. */
  readonly keyserver?: (ports: Ports) => Readonly<Record<string, unknown>>
  readonly gateway?: (ports: Ports, folder: string) => Readonly<Record<string, unknown>>
}

type Test = { teardown(act: () => Promise<void>): unknown }

/** Limits that a scenario does not meet by being quick. */
const generous = {
  codesPerAddressPerHour: 1_000,
  codesPerNetworkPerHour: 10_000,
  opensPerPersonPerHour: 10_000,
  requestsPerNetworkPerMinute: 100_000,
}

export async function openScene(test: Test, options: SceneOptions): Promise<Scene> {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-scene-'))
  const ports = await somePorts()
  const { sink } = options
  const house = await buildHouse({
    folder,
    ports,
    provider: options.provider ?? { host: '127.0.0.1', port: sink.port },
    ...(options.policy === undefined ? {} : { policy: options.policy }),
    keyserver: {
      limits: generous,
      mail: { host: '127.0.0.1', port: sink.port, security: 'none' },
      ...options.keyserver?.(ports),
    },
    gateway: options.gateway?.(ports, folder) ?? {},
  })
  const running: Running[] = []
  // A test that ends by a fault of its own runs no teardown.
  const killAll = () => {
    for (const one of running) one.child.kill('SIGKILL')
  }
  process.once('exit', killAll)
  test.teardown(async () => {
    process.off('exit', killAll)
    await Promise.all(running.map((one) => one.stop()))
    await sink.close()
    await rm(folder, { recursive: true, force: true })
  })
  const keyserver = await house.startKeyserver()
  running.push(keyserver)
  const gateway = await house.startGateway()
  running.push(gateway)
  return {
    house,
    keyserver,
    gateway,
    prove: (envelope, address) => prove(house, sink, envelope, address),
    logs: () => logsIn(folder),
    ready,
  }
}

export async function somePorts(): Promise<Ports> {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = await freePorts(6)
  return { public: a, gateways: b, keyserverOps: c, smtp: d, copies: e, gatewayOps: f }
}

async function prove(house: House, sink: Sink, envelope: string, address: string): Promise<Recipient> {
  const recipient = await createRecipient({ origin: house.origin, fetch })
  const before = sink.deliveries.length
  await recipient.askCode(envelope, address)
  const mail = await sink.wait('the code', (one) => {
    return sink.deliveries.indexOf(one) >= before && one.recipients.includes(address) && codeIn(one.octets) !== null
  })
  await recipient.answer(codeIn(mail.octets) ?? '')
  return recipient
}

/** The one-time code in a mail of the key server's, or null. */
export function codeIn(mail: Uint8Array): string | null {
  return /^(\d{8})\r?$/m.exec(Buffer.from(mail).toString('latin1'))?.[1] ?? null
}

async function logsIn(folder: string): Promise<string> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.log'))
  return (await Promise.all(files.map((name) => readFile(join(folder, name), 'utf8')))).join('\n')
}

async function ready(port: number, wanted: boolean): Promise<string> {
  for (let waited = 0; waited < 15_000; waited += 50) {
    const answer = await fetch(`http://127.0.0.1:${port}/health/ready`)
    const said = await answer.text()
    if (answer.ok === wanted) return said
    await sleep(50)
  }
  throw new Error(`/health/ready did not turn ${wanted ? 'good' : 'bad'} within 15 s`)
}

/** A policy of acme.example with these outbound rules (YAML items), and everything else sealed. */
export function policyOf(outbound: readonly string[] = [], ttl = '{default: 30d, cap: 90d}'): string {
  return [
    'version: 1',
    'organization: acme.example',
    'domains: [acme.example]',
    `ttl: ${ttl}`,
    outbound.length === 0 ? 'outbound: []' : 'outbound:',
    ...outbound.map((rule) => `  - ${rule}`),
    'default: seal',
    'release:',
    "  - {name: recipients, when: person.role == 'recipient', then: allow}",
    "  - {name: the-sender, when: person.role == 'sender', then: allow}",
    'tests: {outbound: [], release: []}',
    '',
  ].join('\n')
}
