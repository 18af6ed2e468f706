import { access, readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { RecipientResult } from '../gateway/courier.ts'
import type { QueueAddress, QueueAnswer } from '../gateway/queue-control.ts'
import type { SpoolEntry, SpoolState } from '../gateway/spool-entry.ts'
import { firstState } from '../gateway/spool-entry.ts'
import { type Loaded, readSpool } from '../gateway/spool-folder.ts'
import { systemFault } from '../protocol/system-fault.ts'
import { readYaml } from '../protocol/yaml-text.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'

/** Where a gateway keeps its spool. */
type Place = { readonly folder: string; readonly keyFile: string; readonly control: string }

const DEADLINE = 30_000

/** `sealpost queue list|show|flush|hold|drop`: the mail that a gateway was handed and has not delivered yet. */
export async function queue(argv: readonly string[], io: Io): Promise<number> {
  const [action, ...rest] = argv
  const { values, positionals } = parseArgs({
    args: rest,
    options: {
      config: { type: 'string' },
      data: { type: 'string' },
      json: { type: 'boolean' },
      all: { type: 'boolean' },
      bounce: { type: 'boolean' },
    },
    allowPositionals: true,
  })
  const place = await placeOf(values)
  const [id, ...more] = positionals
  if (more.length > 0) throw new UsageError('queue: say one ID')
  if (action === 'list') return list(place, values.json === true, io)
  if (action === 'flush' && values.all === true && id === undefined) return order(place, { act: 'flush', id: null }, io)
  if (action !== 'show' && action !== 'flush' && action !== 'hold' && action !== 'drop') {
    throw new UsageError(`queue: say list, show, flush, hold or drop, not ${action ?? 'nothing'}`)
  }
  if (id === undefined) throw new UsageError(`queue ${action}: say which ID; sealpost queue list shows them`)
  if (action === 'show') return show(place, id, values.json === true, io)
  return order(place, { act: action, id, bounce: values.bounce === true }, io)
}

async function placeOf({ config, data }: { config?: string; data?: string }): Promise<Place> {
  if ((config === undefined) === (data === undefined)) {
    throw new UsageError('queue: name the configuration of the gateway with --config, or its data folder with --data')
  }
  const folders = config === undefined ? { data: resolve(data ?? ''), spool: null } : await foldersIn(config)
  return {
    folder: folders.spool ?? resolve(folders.data, 'spool'),
    keyFile: resolve(folders.data, 'spool.key'),
    control: resolve(folders.data, 'queue.json'),
  }
}

/** Only what is needed here: certificates and secrets of the file may be out of this user's reach. */
async function foldersIn(path: string): Promise<{ readonly data: string; readonly spool: string | null }> {
  const text = await readFile(path, 'utf8').catch(() => {
    throw new Failure(`${path}: cannot be read; name the gateway's configuration`, exits.config)
  })
  const read = readYaml(text)
  if ('faults' in read) throw new Failure(read.faults.map((fault) => `${path}: ${fault}`).join('\n'), exits.config)
  const { data, spool } = (read.value ?? {}) as {
    readonly data?: unknown
    readonly spool?: { readonly folder?: unknown }
  }
  if (typeof data !== 'string')
    throw new Failure(`${path}: data is missing; name the gateway's configuration`, exits.config)
  const at = (name: string) => resolve(dirname(resolve(path)), name)
  return { data: at(data), spool: typeof spool?.folder === 'string' ? at(spool.folder) : null }
}

type Found = { readonly entry: SpoolEntry; readonly state: SpoolState; readonly size: number }

async function all(place: Place, io: Io): Promise<Found[]> {
  const found: Found[] = []
  const add = (loaded: Loaded) => {
    if (loaded.kind === 'damaged')
      io.err(`${loaded.id}: cannot be read; it is damaged, or ${place.keyFile} is not its key`)
    else {
      const { entry, size } = loaded
      found.push({ entry, size, state: loaded.state ?? firstState(entry, Date.parse(entry.arrivedAt)) })
    }
  }
  await access(place.folder).catch((error: unknown) => {
    throw new Failure(`${systemFault(error)}; name the data folder of a gateway that has run`)
  })
  try {
    for await (const loaded of readSpool(place)) add(loaded)
  } catch (error) {
    throw new Failure(systemFault(error, place.folder))
  }
  return found.toSorted((a, b) => a.entry.arrivedAt.localeCompare(b.entry.arrivedAt))
}

async function list(place: Place, json: boolean, io: Io): Promise<number> {
  const found = await all(place, io)
  if (json) io.out(JSON.stringify(found.map(summary)))
  else if (found.length === 0) io.out('The queue is empty.')
  else for (const one of found) io.out(line(one))
  return exits.ok
}

function line({ entry, state, size }: Found): string {
  const next = state.held ? 'on hold' : `next ${new Date(state.nextAt).toISOString()}`
  const what = entry.kind === 'notice' ? 'notice to' : 'to'
  const last = state.waiting.findLast((one) => one.last !== null)?.last ?? null
  const said = last === null ? '' : `; ${answer(last)}`
  const to = state.waiting.map(({ address }) => address).join(', ')
  return `${entry.id}  ${entry.arrivedAt}  ${size} octets  ${state.attempts} attempts, ${next}  ${what} ${to}${said}`
}

async function show(place: Place, id: string, json: boolean, io: Io): Promise<number> {
  const found = (await all(place, io)).find(({ entry }) => entry.id === id)
  if (found === undefined) throw new Failure(`${id}: not in the queue; it may have been delivered`)
  if (json) io.out(JSON.stringify(summary(found)))
  else for (const [name, value] of Object.entries(summary(found))) io.out(`${name.padEnd(12)} ${text(value)}`)
  return exits.ok
}

function summary({ entry, state, size }: Found) {
  return {
    id: entry.id,
    kind: entry.kind,
    organization: entry.org,
    envelope: entry.envelope,
    message: entry.intake,
    arrived: entry.arrivedAt,
    octets: size,
    sender: entry.sender?.mailbox ?? '<>',
    attempts: state.attempts,
    next: state.held ? null : new Date(state.nextAt).toISOString(),
    held: state.held,
    recipients: state.waiting.map(({ address, last, unknown }) => {
      return { address, last: last === null ? null : answer(last), mayHaveArrived: unknown }
    }),
  }
}

function text(value: unknown): string {
  if (!Array.isArray(value)) return value === null ? '-' : String(value)
  const items = value as readonly { readonly address: string; readonly last: string | null }[]
  return items.map(({ address, last }) => `${address}${last === null ? '' : ` (${last})`}`).join(', ')
}

function answer({ code, enhanced, text: words, remote }: RecipientResult): string {
  return `${remote ? 'next hop: ' : ''}${code} ${enhanced} ${words}`
}

async function order(place: Place, body: object, io: Io): Promise<number> {
  const address = await addressIn(place.control)
  const notRunning = () => new Failure(`The gateway of ${place.control} is not running: start it first, and try again.`)
  if (address === null) throw notRunning()
  const response = await fetch(`http://127.0.0.1:${address.port}/`, {
    method: 'POST',
    headers: { authorization: `Bearer ${address.token}` },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(DEADLINE),
  }).catch(() => {
    throw notRunning()
  })
  // Its port is another program's by now, here and below.
  if (response.status === 401) throw notRunning()
  const said = (await response.json().catch(() => {
    throw notRunning()
  })) as QueueAnswer
  if (said.kind === 'done') {
    io.out(`Done: ${said.count} ${said.count === 1 ? 'mail' : 'mails'}.`)
    return exits.ok
  }
  if (said.kind === 'busy') throw new Failure('It is being delivered just now: try again when that has ended.')
  throw new Failure('There is no such mail in the queue; it may have been delivered.')
}

/** Null: no gateway has the queue open. */
async function addressIn(file: string): Promise<QueueAddress | null> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as QueueAddress
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (code === null || code === 'ENOENT') return null
    throw new Failure(`${systemFault(error, file)}; run this as the gateway's user`)
  }
}
