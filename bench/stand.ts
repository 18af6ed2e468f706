import { existsSync, readFileSync } from 'node:fs'
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { buildHouse, freePorts, type House, type Running } from '../cli/house.ts'

/** A Sealpost to measure, in a folder of its own that goes away with it. */
export type Stand = {
  readonly folder: string
  readonly house: House
  /** The provider's port: whatever listens there gets what is delivered, and codes. */
  readonly sinkPort: number
  readonly keyserver: Running
  startGateway(): Promise<Running>
  /** Beside the first, at `secondPort`. */
  startSecondGateway(): Promise<Running>
  /** In the second one's place: a gateway whose carry limit is the shipped one; the others' is so high that every envelope goes by mail. */
  startLinkGateway(): Promise<Running>
  /** Removes the sealed copies, as when their time to live is over: pages of the small ones' databases serve again. */
  emptyStores(): Promise<void>
  readonly gatewayPort: number
  readonly secondPort: number
  /** Kept free for the relay to compare with. */
  readonly postfixPort: number
  stop(): Promise<void>
}

/** Measuring is flooding: the limits that are there against it are out of the way, all else is as shipped. */
const limits = {
  codesPerAddressPerHour: 1000,
  codesPerNetworkPerHour: 1_000_000,
  opensPerPersonPerHour: 1_000_000,
  requestsPerNetworkPerMinute: 10_000_000,
}
const CARRY_ALL = 100_000_000

/** How a process of the stand is, and the last it said: for the words of a failure. */
export function lastWords({ child, log }: Running): string {
  const alive = child.exitCode === null && child.signalCode === null
  const state = alive ? 'is running' : `has ended (${child.signalCode ?? child.exitCode})`
  return `process ${child.pid} ${state}; it said: ${readFileSync(log, 'utf8').slice(-600).trim()}`
}

/** Builds a house for the sample organization, whose gateways deliver so, and starts its key server. Gateways are started as needed, and stopped with it. */
export async function openStand(delivery: 'inline' | 'spool' = 'inline'): Promise<Stand> {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-bench-'))
  // Postfix's and the sink's users have to get through; what is private lies in folders and files of mode 0700 and 0600.
  await chmod(folder, 0o711)
  const free = await freePorts(11)
  const port = () => free.pop() ?? 0
  const ports = {
    public: port(),
    gateways: port(),
    keyserverOps: port(),
    smtp: port(),
    copies: port(),
    gatewayOps: port(),
  }
  const second = { smtp: port(), copies: port(), gatewayOps: port() }
  const [sinkPort, postfixPort] = [port(), port()]
  const provider = { host: '127.0.0.1', port: sinkPort }
  const built = { folder, ports, second, delivery, keyserver: { limits } }
  const shipped = await buildHouse({ ...built, provider })
  const house = await buildHouse({ ...built, provider: { ...provider, carryLimit: CARRY_ALL } })
  const keyserver = await house.startKeyserver()
  const running: Running[] = [keyserver]
  const start = async (gateway: Promise<Running>) => {
    running.unshift(await gateway)
    return gateway
  }
  return {
    folder,
    house,
    sinkPort,
    keyserver,
    startGateway: () => start(house.startGateway()),
    startSecondGateway: () => start(house.startSecondGateway()),
    startLinkGateway: () => start(shipped.startSecondGateway()),
    async emptyStores() {
      for (const gateway of ['gw1', 'gw2']) {
        const copies = join(folder, gateway, 'copies')
        // A folder for each first character of an id; the small copies lie beside them.
        for (const name of existsSync(copies) ? await readdir(copies) : [])
          if (name.length === 1) await rm(join(copies, name), { recursive: true })
          else if (name === 'small.sqlite') removeSmallCopies(join(copies, name))
      }
    },
    gatewayPort: ports.smtp,
    secondPort: second.smtp,
    postfixPort,
    async stop() {
      for (const one of running) await one.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function removeSmallCopies(file: string): void {
  const db = new Database(file, { timeout: 5000 })
  try {
    // Not overwritten as the gateway does it: that would write all of them once more.
    db.pragma('secure_delete = OFF')
    db.exec('delete from copy')
  } finally {
    db.close()
  }
}
