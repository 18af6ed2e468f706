import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { Ajv, type ErrorObject } from 'ajv'
import { parseDocument } from 'yaml'
import { type OrgId, parseOrgId } from '../protocol/identifiers.ts'
import { readPublicFile, readSecretFile } from '../protocol/secret-file.ts'
import { loadTlsFiles } from '../protocol/tls-files.ts'
import { type Account, isPasswordHash } from './accounts.ts'
import { blockListOf, isLoopback } from './address-range.ts'
import { ConfigFile } from './config-schema.ts'
import type { SmtpCourierOptions } from './courier-smtp.ts'
import type { ListenerOptions } from './listener.ts'
import type { MtlsOptions } from './mtls-client.ts'
import type { ProofRule } from './proof.ts'
import type { TlsPolicy } from './tls-policy.ts'

/** The configuration with every path made absolute, every file read and every default filled in. See gateway.sample.yaml. */
export type Config = {
  /** Our own host name. */
  readonly name: string
  /** Folder of all that the gateway writes. */
  readonly data: string
  readonly organizations: readonly OrganizationConfig[]
  readonly listeners: readonly ListenerConfig[]
  readonly keyServer: MtlsOptions & { readonly pollMs: number }
  readonly copies: {
    readonly host: string
    readonly port: number
    readonly folder: string
    readonly origins: readonly string[]
  }
  readonly ops: { readonly host: string; readonly port: number }
  readonly limits: {
    readonly size: number
    readonly received: number
    readonly dataMs: number
    readonly budgetMs: number
  }
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
}

export type OrganizationConfig = {
  readonly id: OrgId
  readonly name: string
  /** Null: made at the first start. */
  readonly traceKey: string | null
  readonly loopSecret: string | null
  readonly nextHop: SmtpCourierOptions
  readonly microsoft: boolean
  readonly carryLimit: number
}

export type ListenerConfig = {
  readonly options: ListenerOptions
  readonly rules: readonly ProofRule[]
  /** Null: nobody can sign in. */
  readonly accounts: readonly Account[] | null
}

/** Everything that is wrong with a configuration; each fault is a sentence that names its place and what is expected. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: readonly string[]
  constructor(faults: readonly string[]) {
    super(faults.join('\n'))
    this.faults = faults
  }
}

/** What reading goes on with although something is wrong, so that all faults are told at once. */
type Reading = {
  readonly file: ConfigFile
  readonly at: (path: string) => string
  readonly faults: string[]
  readonly now: Date
}

/** Reads a configuration and every file that it names. Throws a {@link ConfigError} with all faults at once. */
export function loadConfig(path: string, now: Date = new Date()): Config {
  const file = parse(readText(path), path)
  const reading: Reading = { file, at: (name) => resolve(dirname(resolve(path)), name), faults: [], now }
  const data = reading.at(file.data)
  const organizations = Object.entries(file.organizations).map(([id, org]) => organizationOf(reading, id, org))
  const config: Config = {
    name: file.name,
    data,
    organizations,
    listeners: file.listeners.map((listener, index) => listenerOf(reading, listener, index)),
    keyServer: keyServerOf(reading),
    copies: {
      ...file.copies,
      folder: file.copies.folder === undefined ? resolve(data, 'copies') : reading.at(file.copies.folder),
    },
    ops: file.ops,
    limits: limitsOf(file),
    logLevel: file.log?.level ?? 'info',
  }
  if (!isLoopback(file.ops.host)) {
    reading.faults.push(
      'ops > host: expected a loopback address such as 127.0.0.1; health and metrics are for this machine',
    )
  }
  if (reading.faults.length > 0) throw new ConfigError(reading.faults.map((fault) => `${path}: ${fault}`))
  return config
}

function limitsOf({ limits }: ConfigFile): Config['limits'] {
  return {
    size: limits?.size ?? 52_428_800,
    received: limits?.received ?? 50,
    dataMs: 1000 * (limits?.dataSeconds ?? 600),
    budgetMs: 1000 * (limits?.budgetSeconds ?? 50),
  }
}

function organizationOf(reading: Reading, id: string, org: ConfigFile['organizations'][string]): OrganizationConfig {
  const { faults } = reading
  const place = `organizations > ${id}`
  const hop = org.nextHop
  if ((hop.user === undefined) !== (hop.password === undefined))
    faults.push(`${place} > nextHop: user and password go together`)
  const password = secretOf(reading, hop.password, `${place} > nextHop > password`)
  const auth = hop.user === undefined || password === null ? {} : { auth: { user: hop.user, password } }
  const loopSecret = secretOf(reading, org.loopSecret, `${place} > loopSecret`)
  if (loopSecret !== null && !/^[A-Za-z0-9_-]{16,128}$/.test(loopSecret)) {
    faults.push(
      `${place} > loopSecret: expected 16 to 128 letters, digits, - and _; make one with: openssl rand -hex 24`,
    )
  }
  const traceKey = secretOf(reading, org.traceKey, `${place} > traceKey`)
  if (traceKey !== null && traceKey.length < 32) {
    faults.push(`${place} > traceKey: expected 32 characters or more; make one with: openssl rand -hex 32`)
  }
  return {
    // The schema holds ids to the pattern that the brand stands for.
    id: id as OrgId,
    name: org.name,
    traceKey,
    loopSecret,
    nextHop: {
      host: hop.host,
      port: hop.port,
      helo: reading.file.name,
      implicitTls: hop.implicitTls ?? false,
      connections: hop.connections ?? 20,
      ...tlsPolicyOf(reading, hop, place),
      ...auth,
    },
    microsoft: hop.microsoft ?? /\.mail\.protection\.outlook\.com$/i.test(hop.host),
    carryLimit: hop.carryLimit ?? 25_000_000,
  }
}

function tlsPolicyOf(
  reading: Reading,
  hop: ConfigFile['organizations'][string]['nextHop'],
  place: string,
): { tls?: TlsPolicy } {
  const { tls } = hop
  if (tls === undefined) return {}
  const name = tls.name === undefined ? {} : { name: tls.name }
  if (tls.mode === 'verify') {
    const ca = tls.ca === undefined ? {} : { ca: [publicOf(reading, tls.ca, `${place} > nextHop > tls > ca`)] }
    return { tls: { mode: 'verify', ...name, ...ca } }
  }
  if (tls.mode !== 'pin') return { tls: { mode: tls.mode } }
  if (tls.pins === undefined) reading.faults.push(`${place} > nextHop > tls: with mode pin, pins are needed`)
  return { tls: { mode: 'pin', spki: tls.pins ?? [], ...name } }
}

type ListenerFile = ConfigFile['listeners'][number]

function listenerOf(reading: Reading, listener: ListenerFile, index: number): ListenerConfig {
  const { faults, file } = reading
  const name = listener.name ?? `smtp-${index + 1}`
  const place = `listeners > ${name}`
  if (listener.signInWithoutTls && !isLoopback(listener.host)) {
    faults.push(`${place} > signInWithoutTls: passwords go without TLS on a loopback address only`)
  }
  if (listener.accounts !== undefined && listener.tls === undefined && !listener.signInWithoutTls) {
    faults.push(`${place} > accounts: give tls, without which nobody can sign in`)
  }
  const { limits } = file
  return {
    options: {
      name,
      address: listener.host,
      port: listener.port,
      tls: listenerTls(reading, listener),
      clearSignIn: listener.signInWithoutTls ?? false,
      recipientLimit: limits?.recipients ?? 500,
      connectionLimit: limits?.connections ?? 500,
      bareNewlines: listener.bareNewlines ?? 'refuse',
      idleTimeoutMs: 1000 * (limits?.idleSeconds ?? 300),
      drainMs: 1000 * (limits?.drainSeconds ?? 60),
    },
    rules: (listener.clients ?? []).flatMap((rule) => ruleOf(reading, listener, rule, place)),
    accounts: listener.accounts === undefined ? null : accountsOf(reading, listener.accounts, place),
  }
}

function ruleOf(
  reading: Reading,
  listener: ListenerFile,
  rule: NonNullable<ListenerFile['clients']>[number],
  place: string,
): ProofRule[] {
  const { faults, file } = reading
  const { org, from } = rule
  const organization = file.organizations[org]
  if (organization === undefined) {
    faults.push(`${place} > clients: ${org} is not among the organizations of this file`)
    return []
  }
  if (from === 'anyone') {
    if (rule.tenantSecret) faults.push(`${place} > clients: with tenantSecret, from names the provider's ranges`)
    if (!isLoopback(listener.host))
      faults.push(`${place} > clients: from anyone is for loopback listeners; name the ranges`)
    return [{ kind: 'listener', org }]
  }
  const ranges = blockListOf(from)
  if (!('list' in ranges)) {
    faults.push(`${place} > clients > from: ${ranges.fault}`)
    return []
  }
  if (!rule.tenantSecret) return [{ kind: 'range', org, ranges: ranges.list }]
  const secret = secretOf(reading, organization.tenantSecret, `organizations > ${org} > tenantSecret`)
  if (organization.tenantSecret === undefined)
    faults.push(`${place} > clients: organizations > ${org} needs a tenantSecret`)
  else if (secret !== null && secret.length < 16)
    faults.push(`organizations > ${org} > tenantSecret: expected 16 characters or more`)
  return secret === null || secret.length < 16 ? [] : [{ kind: 'tenant', org, ranges: ranges.list, secret }]
}

function listenerTls({ at, faults, now }: Reading, { tls }: ListenerFile): ListenerOptions['tls'] {
  if (tls === undefined) return null
  const load = loadTlsFiles({ cert: at(tls.cert), key: at(tls.key) }, now)
  if (load.kind === 'loaded') return { mode: tls.mode, certificate: load.files.cert, key: load.files.key }
  faults.push(...load.faults)
  return null
}

function keyServerOf({ file: { keyServer }, at, faults, now }: Reading): Config['keyServer'] {
  const load = loadTlsFiles({ cert: at(keyServer.cert), key: at(keyServer.key), ca: at(keyServer.ca) }, now)
  if (load.kind === 'faults') faults.push(...load.faults)
  const files = load.kind === 'loaded' ? load.files : { cert: '', key: '', ca: '' }
  return {
    url: keyServer.url,
    certificate: files.cert,
    key: files.key,
    ca: files.ca ?? '',
    timeoutMs: 1000 * (keyServer.timeoutSeconds ?? 10),
    sockets: 4,
    pollMs: 1000 * (keyServer.pollSeconds ?? 5),
  }
}

/** A YAML list of `{user, org, hash}`; the command `sealpost smtp-user` writes its items. */
function accountsOf(reading: Reading, name: string, place: string): Account[] {
  const { faults, file } = reading
  const text = secretOf(reading, { file: name }, `${place} > accounts`)
  if (text === null) return []
  const document = parseDocument(text, { schema: 'core', uniqueKeys: true })
  const items: unknown = document.errors.length === 0 ? document.toJS({ maxAliasCount: 0 }) : null
  if (!Array.isArray(items)) {
    faults.push(`${place} > accounts: ${name} is not a YAML list of {user, org, hash}`)
    return []
  }
  const accounts: Account[] = []
  for (const [index, item] of items.entries()) {
    const { user, org, hash } = (item ?? {}) as {
      readonly user?: unknown
      readonly org?: unknown
      readonly hash?: unknown
    }
    const id = typeof org === 'string' ? parseOrgId(org) : null
    const known = id !== null && file.organizations[id] !== undefined
    const readable = typeof user === 'string' && typeof hash === 'string' && isPasswordHash(hash)
    if (known && readable && id !== null) accounts.push({ user, org: id, hash })
    else
      faults.push(
        `${place} > accounts: item ${index + 1} of ${name} needs user, an org of this file, and a hash of smtp-user`,
      )
  }
  return accounts
}

/** The trimmed text of a secret's file; null where there is none, or with a fault. */
function secretOf(
  { at, faults }: Reading,
  secret: { readonly file: string } | undefined,
  place: string,
): string | null {
  if (secret === undefined) return null
  const read = readSecretFile(at(secret.file), 'the secret')
  if (read.kind === 'read') return read.content.toString('utf8').trim()
  faults.push(`${place}: ${read.fault}`)
  return null
}

function publicOf({ at, faults }: Reading, name: string, place: string): string {
  const read = readPublicFile(at(name), 'the file')
  if (read.kind === 'read') return read.content.toString('utf8')
  faults.push(`${place}: ${read.fault}`)
  return ''
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
    const why = missing ? 'there is no such file' : 'it cannot be read'
    throw new ConfigError([
      `${path}: ${why}; name a configuration file (gateway/gateway.sample.yaml is one to start from)`,
    ])
  }
}

/** The file's content, if it has the form; throws all faults of form at once. */
function parse(text: string, path: string): ConfigFile {
  const document = parseDocument(text, { schema: 'core', uniqueKeys: true, prettyErrors: true })
  if (document.errors.length > 0) {
    throw new ConfigError(document.errors.map((error) => `${path}: ${error.message.split('\n')[0]}`))
  }
  const value: unknown = document.toJS({ maxAliasCount: 0 })
  const validate = new Ajv({ allErrors: true, strict: false, verbose: true }).compile<ConfigFile>(ConfigFile)
  if (validate(value)) return value
  const faults = (validate.errors ?? []).flatMap((error) => faultOf(error))
  throw new ConfigError([...new Set(faults)].map((fault) => `${path}: ${fault}`))
}

function faultOf(error: ErrorObject): readonly string[] {
  const place = error.instancePath.slice(1).replaceAll('~1', '/').split('/').filter(Boolean).join(' > ') || 'the file'
  const expected = (error.parentSchema as { readonly description?: string } | undefined)?.description
  switch (error.keyword) {
    case 'required':
      return [`${place}: ${String(error.params['missingProperty'])} is missing`]
    case 'additionalProperties':
      return [
        `${place}: ${String(error.params['additionalProperty'])} is not known here${expected ? `; expected ${expected}` : ''}`,
      ]
    case 'const':
      // One branch of a choice; the choice itself says what is expected.
      return []
    default:
      return [`${place}: expected ${expected ?? error.message ?? error.keyword}`]
  }
}
