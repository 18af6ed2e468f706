import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { access, copyFile, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stringify } from 'yaml'
import { certs } from './certs.ts'

/**
 * A whole Sealpost on one machine: a key server and gateways for the sample organization `acme.example`, on loopback, with everything that
 * they write in one folder. The demo, the scenarios and the benchmark live in one.
 */

const root = resolve(import.meta.dirname, '..')

/** TCP ports on 127.0.0.1. */
export type Ports = {
  readonly public: number
  readonly gateways: number
  readonly keyserverOps: number
  readonly smtp: number
  readonly copies: number
  readonly gatewayOps: number
}

export type GatewayPorts = Pick<Ports, 'smtp' | 'copies' | 'gatewayOps'>

export type HouseOptions = {
  readonly folder: string
  readonly ports: Ports
  /** Where sealed mail is handed on, and codes. */
  readonly provider: NextHop
  /** The policy; the sample of acme.example by default. */
  readonly policy?: string
  /** The ports of the second gateway, `gw2`, where there is one. */
  readonly second?: GatewayPorts
  /** Of the gateways' listeners; `inline` by default. */
  readonly delivery?: 'inline' | 'spool'
  /** Laid over what stands in the key server's configuration, member by member. */
  readonly keyserver?: Readonly<Record<string, unknown>>
  /** Laid over what stands in each gateway's. */
  readonly gateway?: Readonly<Record<string, unknown>>
}

export type NextHop = { readonly host: string; readonly port: number } & Readonly<Record<string, unknown>>

/** A running process of ours; its standard output and error go to `log`. */
export type Running = {
  readonly child: ChildProcess
  readonly log: string
  /** Ends it: SIGTERM, and SIGKILL where that has not helped in 10 s. */
  stop(): Promise<void>
  /** Ends it at once, as a power cut would. */
  kill(): Promise<void>
}

/** The files of a house, written; nothing runs yet. What is already there (certificates, keys, database, spool) is kept. */
export type House = {
  readonly folder: string
  readonly ports: Ports
  readonly origin: string
  readonly database: string
  readonly policyFile: string
  /** Of the key server, which says there what it makes of a changed policy. */
  readonly keyserverLog: string
  startKeyserver(): Promise<Running>
  startGateway(): Promise<Running>
  /** `gw2`, at the ports of {@link HouseOptions.second}. Throws where none are given. */
  startSecondGateway(): Promise<Running>
}

/** Writes configuration, certificates and policy of a house into its folder. Throws where the folder cannot be written. */
export async function buildHouse(options: HouseOptions): Promise<House> {
  const { ports } = options
  const folder = resolve(options.folder)
  const at = (...parts: string[]) => join(folder, ...parts)
  for (const sub of ['policies', 'keyserver']) await mkdir(at(sub), { recursive: true, mode: 0o700 })
  if (!(await exists(at('certs', 'ca.pem')))) await makeCertificates(at('certs'))
  for (const secret of ['trace.key', 'loop.secret']) await makeSecret(at(secret))
  const keyserverLog = at('keyserver.log')
  const policyFile = at('policies', 'acme.example.yaml')
  if (options.policy !== undefined) await writeFile(policyFile, options.policy)
  else if (!(await exists(policyFile))) await copyFile(join(root, 'policies', 'acme.example.yaml'), policyFile)
  const origin = `http://localhost:${ports.public}`
  await writeFile(at('keyserver.yaml'), stringify({ ...keyserverConfig(options, origin), ...options.keyserver }))
  const startGateway = async (name: string, own: GatewayPorts) => {
    const file = at(`gateway-${name}.yaml`)
    await writeFile(file, stringify({ ...gatewayConfig(options, origin, name, own), ...options.gateway }))
    return start('gateway', join(root, 'gateway', 'main.ts'), file, at(`gateway-${name}.log`), own.gatewayOps)
  }
  return {
    folder,
    ports,
    origin,
    database: at('keyserver', 'keyserver.sqlite'),
    policyFile,
    keyserverLog,
    startKeyserver: () =>
      start('keyserver', join(root, 'keyserver', 'main.ts'), at('keyserver.yaml'), keyserverLog, ports.keyserverOps),
    startGateway: () => startGateway('gw1', ports),
    startSecondGateway: async () => {
      if (options.second === undefined) throw new Error('the second gateway has no ports')
      return startGateway('gw2', options.second)
    },
  }
}

function keyserverConfig(options: HouseOptions, origin: string): Record<string, unknown> {
  const { ports, provider } = options
  const copies = (port: number) => ({ organizations: ['acme.example'], copies: `http://localhost:${port}` })
  return {
    organizations: { 'acme.example': { url: origin, from: 'no-reply@acme.example', domains: ['acme.example'] } },
    policies: 'policies',
    database: 'keyserver/keyserver.sqlite',
    keyStore: 'keyserver/keys',
    kek: { file: 'keyserver/organization.key' },
    public: { host: '127.0.0.1', port: ports.public, url: origin },
    gatewayListener: {
      host: '127.0.0.1',
      port: ports.gateways,
      tls: { cert: 'certs/keyserver.pem', key: 'certs/keyserver.key', ca: 'certs/ca.pem' },
    },
    ops: { host: '127.0.0.1', port: ports.keyserverOps },
    gateways: { gw1: copies(ports.copies), gw2: copies(options.second?.copies ?? ports.copies) },
    officers: { officer1: { organizations: ['acme.example'] } },
    mail: { host: provider.host, port: provider.port, security: 'none' },
  }
}

function gatewayConfig(
  { provider, ports, delivery = 'inline' }: HouseOptions,
  origin: string,
  name: string,
  own: GatewayPorts,
): Record<string, unknown> {
  const host = '127.0.0.1'
  return {
    name: `${name}.acme.example`,
    data: name,
    organizations: {
      'acme.example': {
        name: 'Acme',
        nextHop: provider,
        traceKey: { file: 'trace.key' },
        loopSecret: { file: 'loop.secret' },
      },
    },
    listeners: [
      {
        name: 'submission',
        host,
        port: own.smtp,
        tls: { mode: 'starttls', cert: 'certs/gateway.pem', key: 'certs/gateway.key' },
        clients: [{ org: 'acme.example', from: 'anyone' }],
        delivery,
      },
    ],
    keyServer: {
      url: `https://localhost:${ports.gateways}`,
      cert: `certs/gateway-${name}.pem`,
      key: `certs/gateway-${name}.key`,
      ca: 'certs/ca.pem',
    },
    copies: { host, port: own.copies, origins: [origin] },
    ops: { host, port: own.gatewayOps },
  }
}

/** A random secret in a file of its own, which the gateways share. An old one is kept. */
async function makeSecret(file: string): Promise<void> {
  if (!(await exists(file))) await writeFile(file, randomBytes(32).toString('hex'), { mode: 0o600 })
}

async function makeCertificates(folder: string): Promise<void> {
  const said: string[] = []
  const code = await certs(['init', '--to', folder, '--gateway', 'gw1', '--gateway', 'gw2', '--officer', 'officer1'], {
    out: (line: string) => said.push(line),
    err: (line: string) => said.push(line),
  })
  if (code !== 0) throw new Error(`certificates could not be made: ${said.join(' ')}`)
}

/** What Node has compiled, as in the image; beside the packages, where only who may change those can write. */
const compiled = join(root, 'node_modules', '.cache', 'sealpost')

async function start(name: string, program: string, config: string, log: string, opsPort: number): Promise<Running> {
  const env = { NODE_COMPILE_CACHE: compiled, ...process.env }
  const child = spawn(process.execPath, [program, config], { stdio: ['ignore', 'pipe', 'pipe'], env })
  const file = createWriteStream(log, { flags: 'a', mode: 0o600 })
  let tail = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      file.write(chunk)
      tail = (tail + chunk.toString()).slice(-2000)
    })
  }
  const ended = once(child, 'exit')
  const running: Running = {
    child,
    log,
    stop: async () => {
      child.kill('SIGTERM')
      const hard = setTimeout(() => child.kill('SIGKILL'), 10_000)
      if (child.exitCode === null && child.signalCode === null) await ended
      clearTimeout(hard)
    },
    kill: async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await ended
    },
  }
  const latest = performance.now() + 30_000
  while (performance.now() < latest) {
    if (child.exitCode !== null) throw new Error(`the ${name} did not start; it said: ${tail.trim()}`)
    if (await answers(`http://127.0.0.1:${opsPort}/health/ready`)) return running
    await sleep(50)
  }
  await running.kill()
  throw new Error(`the ${name} was not ready within 30 s; it said: ${tail.trim()}`)
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(1000) })).ok
  } catch {
    return false // not listening yet
  }
}

/** Below those that systems give to connections on their way out (Linux from 32768, others from 49152), which could be taken again before they are used. */
const FIRST_PORT = 10_240
const PORTS = 22_000
/** Where this process looks next: processes that start together begin apart. */
let nextPort = process.pid * 64

/** So many free TCP ports of 127.0.0.1, all different, and others at each call. Throws where there are not as many. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  for (const last = nextPort + PORTS; ports.length < count && nextPort < last; nextPort++) {
    const port = FIRST_PORT + (nextPort % PORTS)
    if (await isFree(port)) ports.push(port)
  }
  if (ports.length < count) throw new Error(`127.0.0.1 has no ${count} free ports`)
  return ports
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  await once(server.close(), 'close')
  return true
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
