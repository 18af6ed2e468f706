import { parseArgs } from 'node:util'
import { messageIdDigest } from '../gateway/trace.ts'
import { parseAddress, parseEnvelopeId } from '../protocol/identifiers.ts'
import { readSecretFile } from '../protocol/secret-file.ts'
import { shieldIds } from './dashed-id.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'
import { type EnvelopeRow, openTraceDatabase, type TraceDatabase } from './trace-database.ts'
import { openValues } from './trace-names.ts'
import { tellStory } from './trace-story.ts'
import { rowLine, storyLines } from './trace-words.ts'

/** An address may have had thousands of mails. */
const NEWEST = 20

const options = {
  database: { type: 'string' },
  'key-store': { type: 'string' },
  kek: { type: 'string' },
  'trace-key': { type: 'string', multiple: true },
  log: { type: 'string' },
  json: { type: 'boolean' },
} as const

/** `sealpost trace`: where is my mail? Reads only; shows no key, no code and nothing of a content. `now` in milliseconds. */
export async function trace(argv: readonly string[], io: Io, now: number = Date.now()): Promise<number> {
  const { values, positionals } = parseArgs({ args: shieldIds(argv), options, allowPositionals: true })
  const [wanted, ...more] = positionals
  if (wanted === undefined) throw new UsageError('trace: say which Message-ID, address or envelope id')
  if (more.length > 0)
    throw new UsageError('trace: say one Message-ID, address or envelope id, in quotes if it has blanks')
  if (values.database === undefined) throw new UsageError("trace: name the key server's database with --database")
  const traceKeys = (values['trace-key'] ?? []).map(traceKeyIn)
  const sealed = await openValues(values.database, { keyStore: values['key-store'], kek: values.kek })
  const database = openTraceDatabase(values.database, values.log ?? null)
  try {
    const { rows, isList } = find(database, wanted.trim(), traceKeys)
    if (rows.length === 0) throw new Failure(nothingKnown(wanted))
    if (isList && rows.length > 1 && values.json !== true) {
      listed(database, rows, io)
      return exits.ok
    }
    const stories = []
    for (const row of rows) stories.push(await tellStory({ database, values: sealed }, row))
    if (values.json === true) io.out(JSON.stringify({ envelopes: stories }))
    else for (const line of stories.flatMap((story) => [...storyLines(story, now), ''])) io.out(line)
    if (sealed === null && values.json !== true) io.out(STAYS_SEALED)
    return exits.ok
  } finally {
    database.close()
  }
}

const STAYS_SEALED =
  "What the next hop said, and from which network somebody came, lies sealed beside the log; of persons who are not known any more, the pseudonym stays. With --key-store and --kek this is shown, too, as far as the person's key is still there."

type Found = { readonly rows: readonly EnvelopeRow[]; readonly isList: boolean }

/** A Message-ID without its brackets looks like an address: then it is looked up as both. */
function find(database: TraceDatabase, wanted: string, traceKeys: readonly Uint8Array[]): Found {
  const id = parseEnvelopeId(/\/m\/([\w-]{22})$/.exec(wanted)?.[1] ?? wanted)
  if (id !== null) return { rows: database.byId(id), isList: false }
  const isBracketed = /^<.*>$/.test(wanted)
  if (isBracketed && traceKeys.length === 0) throw new UsageError(NEEDS_TRACE_KEY)
  const messageId = isBracketed ? wanted : `<${wanted}>`
  const byMessage = traceKeys.flatMap((key) => database.byMessage(messageIdDigest(messageId, key)))
  if (isBracketed || byMessage.length > 0) return { rows: byMessage, isList: false }
  const address = parseAddress(wanted)
  if (address === null)
    throw new UsageError(`trace: ${JSON.stringify(wanted)} is no Message-ID, address or envelope id`)
  return { rows: database.byAddress(address, NEWEST), isList: true }
}

const NEEDS_TRACE_KEY =
  "trace: a Message-ID is found by the trace key of the organization. Name its file with --trace-key: traceKey in gateway.yaml, or else <organization>.trace in the gateway's data folder"

function traceKeyIn(file: string): Uint8Array {
  const read = readSecretFile(file, 'the trace key')
  if (read.kind === 'fault') throw new Failure(read.fault, exits.config)
  return Buffer.from(read.content.toString('utf8').trim())
}

function listed(database: TraceDatabase, rows: readonly EnvelopeRow[], io: Io): void {
  for (const row of rows) {
    const recipients = database.recipients(row).map(({ address }) => address)
    io.out(rowLine(row, recipients))
  }
  const newest = rows.length === NEWEST ? `The newest ${NEWEST}; ` : ''
  io.out(`${newest}times are UTC. More on one: sealpost trace ID --database …`)
}

function nothingKnown(wanted: string): string {
  return `Nothing is known of ${wanted}. Mail that was turned away before any rule looked at it (a client that proves nothing, too large, the key server or the provider down: the client got 4xx or 5xx) is only in the gateway's own log, and mail that waits may be in its queue: sealpost queue list. A Message-ID is found only with the trace key that the gateway had.`
}
