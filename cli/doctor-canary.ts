import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AuditRecord } from '../audit/kinds.ts'
import { decodeLeaf, envelopeOf } from '../audit/record.ts'
import { openLogDatabase } from '../audit/sqlite.ts'
import type { Config } from '../gateway/config.ts'
import type { RecipientResult } from '../gateway/courier.ts'
import { replyLine } from '../gateway/courier.ts'
import { createSmtpCourier } from '../gateway/courier-smtp.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { broken, type Finding, look, ok, reasonOf } from './doctor-finding.ts'
import { reachableAt } from './doctor-listener.ts'

export type Canary = {
  readonly config: Config
  readonly org: OrgId
  /** Whose mail it is: an address in one of the organization's domains. */
  readonly from: string
  readonly to: string
  /** The key server's database; null where it is not on this machine. */
  readonly database: string | null
  readonly now: Date
}

const BUDGET_MS = 60_000
const FOLLOW_MS = 10_000

/** Hands a real mail in as a client does, and follows it as far as it can be seen from here. */
export async function canaryFindings(canary: Canary): Promise<Finding[]> {
  const { config, from, to } = canary
  const refusals: string[] = []
  for (const listener of config.listeners.filter(({ options }) => options.port !== 0)) {
    const { name, port, tls } = listener.options
    const courier = createSmtpCourier({
      host: reachableAt(listener),
      port,
      helo: config.name,
      // The certificate is looked at elsewhere, and this connection does not leave the machine.
      tls: { mode: 'opportunistic' },
      implicitTls: tls?.mode === 'implicit',
      connections: 1,
      budgetMs: BUDGET_MS,
    })
    try {
      const mail = mailOf(canary)
      const { results } = await courier.deliver({ sender: from, recipients: [to], mail })
      const [result] = results
      if (result?.outcome === 'sent') return follow(canary, name, result)
      refusals.push(`${name}: ${result === undefined ? 'no answer' : replyLine(result)}`)
    } finally {
      await courier.close()
    }
  }
  const todo = `see what else is broken here; if it is "not proven", let this machine in (listeners > clients), or say --from with one of your addresses`
  return [
    broken('canary', `the mail from ${from} was not taken: ${refusals.join('; ') || 'no listener has a port'}`, todo),
  ]
}

async function follow({ org, to, database }: Canary, listener: string, result: RecipientResult): Promise<Finding[]> {
  const taken = ok('canary', `handed in at ${listener} for ${to}: ${replyLine(result)}`)
  const envelope = /\benvelope ([A-Za-z0-9_-]{22})\b/.exec(result.text)?.[1]
  if (envelope === undefined) {
    return [taken, look('canary', 'the reply names no envelope', 'look for it: sealpost audit show DATABASE')]
  }
  if (database === null) {
    const todo = `on the key server's machine: sealpost audit show DATABASE --log ${org} --envelope=${envelope}, or doctor with --keyserver`
    return [taken, look('canary', 'it was not followed into the log, which is not here', todo)]
  }
  try {
    const records = await recordsOf(database, org, envelope)
    return [taken, logFinding(envelope, records), inbox(to)]
  } catch (error) {
    return [
      taken,
      broken('canary', `the log cannot be read: ${reasonOf(error)}`, 'run the doctor as the key server’s user'),
    ]
  }
}

function inbox(to: string): Finding {
  return look(
    'canary',
    `the provider has it; whether it is in the mailbox of ${to} only its owner sees`,
    'look there, in the junk folder too',
  )
}

function logFinding(envelope: string, records: readonly AuditRecord[]): Finding {
  const kinds = records.map((record) => (record.kind === 'outcome' ? `outcome ${record.outcome}` : record.kind))
  const path = `envelope ${envelope}: ${kinds.join(', ') || 'nothing'}`
  const judged = records.find((record) => record.kind === 'issued' || record.kind === 'passed')
  const rule = judged === undefined || !('rule' in judged) ? '' : ` (rule ${judged.rule})`
  if (isDone(records)) return ok('canary', `the log has it from issue to delivery${rule}: ${path}`)
  return broken(
    'canary',
    `the log does not have the whole of it: ${path}`,
    'is this the database of the key server that the gateway asks?',
  )
}

function isDone(records: readonly AuditRecord[]): boolean {
  const kinds = new Set(records.map((record) => record.kind))
  const sent = records.some((record) => record.kind === 'outcome' && record.outcome === 'sent')
  return (kinds.has('issued') || kinds.has('passed')) && kinds.has('confirmed') && sent
}

/** What the log says of the envelope, once it is all there or the time is up. */
async function recordsOf(database: string, org: string, envelope: string): Promise<readonly AuditRecord[]> {
  const until = performance.now() + FOLLOW_MS
  for (;;) {
    const records = readRecords(database, org, envelope)
    if (isDone(records) || performance.now() > until) return records
    await sleep(500)
  }
}

function readRecords(database: string, org: string, envelope: string): readonly AuditRecord[] {
  const { logs, close } = openLogDatabase(database)
  try {
    const log = logs.find((one) => one.log === org)
    const found: AuditRecord[] = []
    // The newest are enough: it was sent a moment ago.
    for (const leaf of log?.leaves(Math.max(0, (log?.size ?? 0) - 10_000)) ?? []) {
      const decoded = decodeLeaf(leaf.record)
      if (decoded.kind === 'leaf' && envelopeOf(decoded.leaf.record) === envelope) found.push(decoded.leaf.record)
    }
    return found
  } finally {
    close()
  }
}

function mailOf({ from, to, now, config }: Canary) {
  const octets = Buffer.from(
    [
      `From: ${from}`,
      `To: ${to}`,
      `Subject: Sealpost test of ${now.toISOString().slice(0, 16)}Z`,
      `Date: ${now.toUTCString().replace('GMT', '+0000')}`,
      `Message-ID: <${randomBytes(16).toString('hex')}@${config.name}>`,
      'MIME-Version: 1.0',
      'Content-Type: text/plain; charset=us-ascii',
      '',
      'This mail was sent by `sealpost doctor --send`, to see whether mail gets through.',
      'If you can read this, it does. There is nothing to do.',
      '',
    ].join('\r\n'),
  )
  return {
    size: octets.length,
    smtputf8: false,
    eightBit: false,
    async *open() {
      yield octets
    },
  }
}
