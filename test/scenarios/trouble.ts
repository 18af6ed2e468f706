import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import type { AuditRecord } from '../../audit/kinds.ts'
import { audit } from '../../cli/audit.ts'
import { buildHouse, freePorts, type House, type Running } from '../../cli/house.ts'
import { createRecipient, type Recipient } from '../../cli/recipient.ts'
import { run } from '../../cli/run.ts'
import { type FlakyProvider, type Kept, startFlakyProvider } from './flaky-provider.ts'
import { codeIn } from './house.ts'
import type { Letter } from './retrying-client.ts'

/** A house whose processes can be killed and started again at any moment, with a provider that fails on demand. */
export type Trouble = {
  readonly house: House
  readonly provider: FlakyProvider
  /** SMTP ports of the two gateways. */
  readonly first: number
  readonly second: number
  start(...names: readonly ProcessName[]): Promise<void>
  /** SIGKILL. */
  kill(name: ProcessName): Promise<void>
  /** SIGTERM, and waits. */
  stop(name: ProcessName): Promise<void>
  pid(name: ProcessName): number
  /** What the provider keeps of this letter, for this recipient. */
  copies(letter: Letter, recipient: string): readonly Kept[]
  /** Where something of the letter's words can be read: at the provider, or in a file of the house. Empty is good. */
  leaks(...letters: readonly Pick<Letter, 'canary'>[]): Promise<readonly string[]>
  /** The records of a log, in order. */
  records(log?: string): readonly AuditRecord[]
  /** What `audit verify` says; '' where every log is as it was signed. */
  verify(): Promise<string>
  /** A recipient who has proven this address, and asks by this `fetch`. */
  prove(envelope: string, address: string, by?: typeof fetch): Promise<Recipient>
  /** `sealpost …` with the officer's certificate: the exit status and what was said. */
  officer(...command: readonly string[]): Promise<{ readonly code: number; readonly said: string }>
}

export type ProcessName = 'keyserver' | 'gw1' | 'gw2'

export type TroubleOptions = {
  readonly policy?: string
  /** Whether the gateways' listeners spool. */
  readonly spools?: boolean
  readonly keyserver?: Readonly<Record<string, unknown>>
  readonly gateway?: Readonly<Record<string, unknown>>
  /** In place of one that is made here; it runs already. */
  readonly provider?: FlakyProvider
}

type Test = { teardown(act: () => Promise<void>): unknown }

/** Where a Message-ID is looked for. */
const LONGEST_HEADER = 16_384

const limits = {
  codesPerAddressPerHour: 1_000,
  codesPerNetworkPerHour: 10_000,
  opensPerPersonPerHour: 10_000,
  requestsPerNetworkPerMinute: 100_000,
}

/** Builds the house; nothing runs yet but the provider. Everything ends, and goes from the disk, with the test. */
export async function openTrouble(test: Test, options: TroubleOptions = {}): Promise<Trouble> {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-trouble-'))
  const provider = options.provider ?? (await startFlakyProvider())
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0, i = 0] = await freePorts(9)
  const house = await buildHouse({
    folder,
    ports: { public: a, gateways: b, keyserverOps: c, smtp: d, copies: e, gatewayOps: f },
    second: { smtp: g, copies: h, gatewayOps: i },
    provider: { host: '127.0.0.1', port: provider.port },
    ...(options.policy === undefined ? {} : { policy: options.policy }),
    keyserver: { limits, ...options.keyserver },
    delivery: options.spools === true ? 'spool' : 'inline',
    gateway: options.gateway ?? {},
  })
  const running = new Map<ProcessName, Running>()
  test.teardown(async () => {
    provider.play(null)
    await Promise.all([...running.values()].map((one) => one.kill()))
    await provider.kill()
    await rm(folder, { recursive: true, force: true })
  })
  const begin = { keyserver: house.startKeyserver, gw1: house.startGateway, gw2: house.startSecondGateway }
  const end = async (name: ProcessName, how: 'kill' | 'stop') => {
    await running.get(name)?.[how]()
    running.delete(name)
  }
  return {
    house,
    provider,
    first: d,
    second: g,
    start: async (...names) => {
      for (const name of names) running.set(name, await begin[name]())
    },
    kill: (name) => end(name, 'kill'),
    stop: (name) => end(name, 'stop'),
    pid: (name) => running.get(name)?.child.pid ?? 0,
    copies: ({ id }, recipient) =>
      provider.kept.filter(
        ({ octets, recipients }) => recipients.includes(recipient) && octets.subarray(0, LONGEST_HEADER).includes(id),
      ),
    leaks: (...letters) => leaks(folder, provider, letters),
    records: (log = 'acme.example') => recordsIn(house.database, log),
    verify: () => verify(house.database),
    prove: (envelope, address, by = fetch) => prove(house, provider, envelope, address, by),
    officer: (...command) => officer(house, command),
  }
}

/** The records of a log in a database, in order. */
export function recordsIn(file: string, log: string): readonly AuditRecord[] {
  const database = new Database(file, { readonly: true })
  const rows = database.prepare<[string], { record: Uint8Array }>(
    'select record from log_leaf where log = ? order by idx',
  )
  const records = rows.all(log).map(({ record }) => JSON.parse(Buffer.from(record).toString()) as AuditRecord)
  database.close()
  return records
}

/** What `audit verify` complains of; '' where it verifies. */
export async function verify(file: string, ...more: readonly string[]): Promise<string> {
  const said: string[] = []
  const out = { write: (text: string) => said.push(text) }
  const code = await audit(['verify', file, ...more], { stdout: out, stderr: out })
  return code === 0 ? '' : said.join('')
}

/** Waits until `is` says yes; throws after `within` milliseconds, naming `what`. */
export async function until(what: string, is: () => boolean | Promise<boolean>, within = 15_000): Promise<void> {
  for (const end = Date.now() + within; !(await is()); await sleep(10)) {
    if (Date.now() > end) throw new Error(`${what}: not within ${within} ms`)
  }
}

async function officer({ folder, ports }: House, command: readonly string[]) {
  const said: string[] = []
  const certs = join(folder, 'certs')
  const who = ['--cert', join(certs, 'officer-officer1.pem'), '--key', join(certs, 'officer-officer1.key')]
  const where = ['--keyserver', `https://localhost:${ports.gateways}`, '--ca', join(certs, 'ca.pem')]
  const say = (line: string) => void said.push(line)
  return { code: await run([...command, ...where, ...who], { out: say, err: say }), said: said.join('\n') }
}

async function prove(
  house: House,
  provider: FlakyProvider,
  envelope: string,
  address: string,
  by: typeof fetch,
): Promise<Recipient> {
  const recipient = await createRecipient({ origin: house.origin, fetch: by })
  const before = provider.kept.length
  await recipient.askCode(envelope, address)
  await recipient.answer(await codeFor(provider, before, address))
  return recipient
}

/** The code in a mail to `address` that came after the first `before`. */
export async function codeFor(provider: FlakyProvider, before: number, address: string): Promise<string> {
  let code: string | null = null
  await until('the code', () => {
    const mails = provider.kept.slice(before).filter(({ recipients }) => recipients.includes(address))
    code = mails.map(({ octets }) => codeIn(octets)).findLast((found) => found !== null) ?? null
    return code !== null
  })
  return code ?? ''
}

async function leaks(
  folder: string,
  { seen }: FlakyProvider,
  letters: readonly Pick<Letter, 'canary'>[],
): Promise<string[]> {
  const words = letters.flatMap(({ canary }) => waysToSay(canary))
  const holds = (octets: Buffer) => words.some((word) => octets.includes(word))
  const found = holds(Buffer.concat(seen)) ? ['the provider'] : []
  for (const name of await readdir(folder, { recursive: true })) {
    // A folder, or what a running process removed meanwhile: there is nothing to read.
    const octets = await readFile(join(folder, name)).catch(() => null)
    if (octets !== null && holds(octets)) found.push(name)
  }
  return found
}

/** The words as they are, and as they stand in base64 at each of its three places. */
export function waysToSay(words: string): string[] {
  const places = [0, 1, 2].map((shift) => {
    const text = Buffer.from(' '.repeat(shift) + words).toString('base64')
    return text.slice(shift === 0 ? 0 : 4, -4)
  })
  return [words, ...places]
}
