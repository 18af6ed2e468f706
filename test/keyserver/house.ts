import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { pino } from 'pino'
import { SMTPServer } from 'smtp-server'
import type { AuditRecord } from '../../audit/kinds.ts'
import { createRecipient, type Recipient } from '../../cli/recipient.ts'
import { createClock } from '../../keyserver/clock.ts'
import type { Config, Limits } from '../../keyserver/config.ts'
import { createJournal } from '../../keyserver/journal.ts'
import { openKekFile } from '../../keyserver/kek-file.ts'
import { openKeyFolder } from '../../keyserver/key-store.ts'
import { openKeyring, sealSecret, wrapDataKey } from '../../keyserver/keyring.ts'
import { createMetrics } from '../../keyserver/metrics.ts'
import type { Parts } from '../../keyserver/parts.ts'
import { createPublicApp } from '../../keyserver/public.ts'
import type { Store } from '../../keyserver/store.ts'
import { openSqliteStore } from '../../keyserver/store-sqlite.ts'
import {
  type Address,
  type EnvelopeId,
  type OrgId,
  parseAddress,
  parseEnvelopeId,
  parseOrgId,
} from '../../protocol/identifiers.ts'
import type { ReleaseFacts, ReleaseVerdict } from '../../rulebook/facts.ts'

/** A key server's public listener with real store, keys, log and mail, and a wall clock that the test sets. */
export type House = {
  readonly parts: Parts
  readonly origin: string
  /** Where the listener really is. */
  readonly base: string
  /** Mails as the provider got them. */
  readonly mails: readonly string[]
  /** Moves the wall clock, milliseconds. */
  advance(by: number): void
  /** The release rules, until changed: allow all. */
  decide: (facts: ReleaseFacts) => ReleaseVerdict
  recipient(ip?: string): Promise<Recipient>
  /** A recipient who has proven this address for this envelope, by the code in the mail. */
  proven(envelope: EnvelopeId, address: string, ip?: string): Promise<Recipient>
  /** The code in the newest mail, once there are more than `before`. */
  code(before: number): Promise<string>
  /** The same, among mails to this address. */
  codeFor(before: number, address: string): Promise<string>
  issue(options?: Issue): Promise<Issued>
  /** Every record of a log, in order. */
  records(log?: string): Promise<readonly AuditRecord[]>
  close(): Promise<void>
}

export type Issue = {
  readonly sender?: string | null
  readonly recipients?: readonly string[]
  readonly ttlSeconds?: number
  readonly confirmed?: boolean
  readonly kind?: 'seal' | 'hold'
}
export type Issued = {
  readonly id: EnvelopeId
  readonly dataKey: Uint8Array
  readonly wrappedKey: Uint8Array
  readonly digest: string
}

export const org = known(parseOrgId('acme.example'))
const origin = 'http://open.acme.example'
const policyHash = 'a'.repeat(64)

const generous: Limits = {
  codesPerAddressPerHour: 1_000,
  codesPerNetworkPerHour: 100_000,
  wrongCodesPerAddressPerDay: 1_000,
  opensPerPersonPerHour: 100_000,
  requestsPerNetworkPerMinute: 1_000_000,
  sessionHours: 12,
}

/** Opens a house that ends, and goes from the disk, with the test. */
export async function openHouse(
  test: { teardown(act: () => Promise<void>): unknown },
  limits: Partial<Limits> = {},
  disk: (store: Store) => Store = (store) => store,
): Promise<House> {
  const catcher = await openCatcher()
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-house-'))
  let moved = 0
  let closed = false
  const store = disk(await openSqliteStore({ file: join(folder, 'keyserver.sqlite'), host: 'open.acme.example' }))
  const keyring = await openKeyring(
    await openKekFile(join(folder, 'kek'), true),
    await openKeyFolder(join(folder, 'keys')),
  )
  const clock = createClock({ wall: () => Date.now() + moved, elapsed: () => performance.now() }, null, null)
  const config = configOf(catcher.port, { ...generous, ...limits })
  const house = { decide: (_: ReleaseFacts): ReleaseVerdict => ({ kind: 'allow', rule: 'everybody' }) }
  const active = {
    org,
    hash: policyHash,
    text: '',
    domains: ['acme.example'],
    capSeconds: 86_400,
    decideRelease: (facts: ReleaseFacts) => house.decide(facts),
  }
  const parts: Parts = {
    config,
    store,
    keyring,
    clock,
    journal: createJournal(store, keyring),
    policies: { active: (asked) => (asked === org ? active : null), fault: () => null },
    metrics: createMetrics(),
    log: pino({ level: 'silent' }),
  }
  const app = await createPublicApp(parts)
  const base = await app.listen({ host: '127.0.0.1', port: 0 })
  const recipient = (ip = '198.51.100.7') => createRecipient({ origin, fetch: fetchAt(base, ip) })

  const self: House = Object.assign(house, {
    parts,
    origin,
    base,
    mails: catcher.mails,
    advance: (by: number) => {
      moved += by
    },
    recipient,
    proven: async (envelope: EnvelopeId, address: string, ip?: string) => {
      const one = await recipient(ip)
      const before = catcher.mails.length
      await one.askCode(envelope, address)
      await one.answer(await self.code(before))
      return one
    },
    code: async (before: number) => codeIn(await catcher.next(before)),
    codeFor: async (before: number, to: string) => codeIn(await catcher.next(before, `To: ${to}`)),
    issue: (options: Issue = {}) => issue(parts, options),
    records: async (log: string = org) => readRecords(join(folder, 'keyserver.sqlite'), log),
    close: async () => {
      if (closed) return
      closed = true
      await app.close()
      await store.close()
      await catcher.close()
    },
  })
  test.teardown(async () => {
    await self.close()
    await rm(folder, { recursive: true, force: true })
  })
  return self
}

/** Fetch that reaches the public origin at `base`, coming from `ip` as a proxy says it. */
export function fetchAt(base: string, ip: string): typeof fetch {
  return (input, init) => {
    const url = new URL(String(input))
    const headers = { ...(init?.headers as Record<string, string>), 'x-forwarded-for': ip }
    return fetch(new URL(url.pathname + url.search, base), { ...init, headers })
  }
}

async function issue(parts: Parts, options: Issue): Promise<Issued> {
  const {
    sender = 'anna@acme.example',
    recipients = ['bea@example.org'],
    ttlSeconds = 3600,
    confirmed = true,
    kind = 'seal',
  } = options
  const { store, keyring, clock } = parts
  const id = known(parseEnvelopeId(randomBytes(16).toString('base64url')))
  const [secret, dataKey, digest] = [randomBytes(32), randomBytes(32), randomBytes(32).toString('base64url')]
  const issuedAt = clock.now()
  const expiresAt = issuedAt + ttlSeconds * 1000
  const bucket = await keyring.currentBucket(org, expiresAt)
  const termsHash = randomBytes(32).toString('base64url')
  await store.transact(async (tx) => {
    await tx.envelopes.add({
      id,
      org,
      kind,
      sender: sender === null ? null : address(sender),
      rule: 'outside',
      policyHash,
      terms: { ttlSeconds, proof: 'code' },
      termsHash,
      expiresAt,
      bucket: bucket.id,
      sealedSecret: sealSecret(bucket.key, secret, { org, envelope: id, bucket: bucket.id }),
      gateway: 'gw1',
      issuedAt,
      confirmBy: issuedAt + 600_000,
      messageDigest: null,
      recipients: recipients.map((one) => ({ address: address(one), retryKey: null })),
    })
    if (!confirmed) return
    await tx.envelopes.confirm(id, issuedAt)
    await tx.envelopes.addCopy({ envelope: id, digest, sealedSize: 1000, plainSize: 900, gateway: 'gw1', at: issuedAt })
  })
  return { id, dataKey, wrappedKey: wrapDataKey(secret, dataKey, { org, envelope: id, termsHash }), digest }
}

export function address(text: string): Address {
  return known(parseAddress(text))
}

function known<T>(value: T | null): T {
  if (value === null) throw new Error('a test gave what does not parse')
  return value
}

function configOf(smtpPort: number, limits: Limits): Config {
  const listener = { host: '127.0.0.1', port: 0 }
  const tls = { cert: '', key: '', ca: '' }
  return {
    organizations: { [org]: { url: null, from: 'codes@acme.example', domains: ['acme.example'] } } as Record<
      OrgId,
      never
    >,
    policies: '',
    database: '',
    disk: { keepFree: 0, reserve: 0 },
    keyStore: '',
    kek: { file: '' },
    public: { ...listener, url: origin, tls: null, trustedProxies: ['127.0.0.1'] },
    gatewayListener: { ...listener, tls },
    ops: listener,
    gateways: { gw1: { organizations: [org], copies: 'https://copies.acme.example' } },
    officers: {},
    mail: { host: '127.0.0.1', port: smtpPort, security: 'none', ca: null, user: null, password: null },
    limits,
    graceDays: 1,
    telemetry: null,
    log: { level: 'error' },
  }
}

function readRecords(file: string, log: string): readonly AuditRecord[] {
  const database = new Database(file, { readonly: true })
  const rows = database.prepare('select record from log_leaf where log = ? order by idx').all(log)
  database.close()
  return rows.map((row) => JSON.parse(Buffer.from((row as { record: Uint8Array }).record).toString()) as AuditRecord)
}

function codeIn(mail: string): string {
  return /^\d{8}$/m.exec(mail.replaceAll('\r', ''))?.[0] ?? ''
}

async function openCatcher() {
  const mails: string[] = []
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    logger: false,
    onData(stream, _session, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        mails.push(Buffer.concat(chunks).toString('latin1'))
        done()
      })
    },
  })
  server.on('error', () => {
    // A client that goes away is the client's affair.
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.server.address() as AddressInfo
  return {
    port,
    mails,
    async next(before: number, having = ''): Promise<string> {
      const until = performance.now() + 5_000
      for (;;) {
        const newest = mails.slice(before).findLast((mail) => mail.includes(having))
        if (newest !== undefined) return newest
        if (performance.now() > until) throw new Error('no mail came')
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    },
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  }
}
