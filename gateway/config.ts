import { statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { ConfigError, readConfigDocument } from '../protocol/config-document.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { loadTlsFiles } from '../protocol/tls-files.ts'
import { type TelemetryConfig, telemetryOf } from '../telemetry/config.ts'
import { isLoopback } from './address-range.ts'
import type { AccountsConfig } from './config-accounts.ts'
import type { ApiConfig } from './config-api.ts'
import { listenerOf } from './config-listener.ts'
import type { NextHopConfig } from './config-next-hop.ts'
import { organizationOf } from './config-organization.ts'
import type { Reading } from './config-reading.ts'
import { scannerOf } from './config-scanner.ts'
import { ConfigFile } from './config-schema.ts'
import { type SpoolConfig, spoolOf } from './config-spool.ts'
import type { DeliveryMode } from './dispatch.ts'
import type { DkimConfig } from './dkim-config.ts'
import type { LimitRules } from './limits.ts'
import type { ListenerOptions } from './listener.ts'
import type { MtlsOptions } from './mtls-client.ts'
import type { ProofRule } from './proof.ts'
import type { ScannerOptions } from './scanner.ts'

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
  readonly spool: SpoolConfig
  readonly ops: { readonly host: string; readonly port: number }
  readonly limits: {
    readonly size: number
    /** Octets of memory for large messages under way. */
    readonly memory: number
    readonly received: number
    readonly dataMs: number
    readonly budgetMs: number
    readonly rates: LimitRules
  }
  /** Null: nothing is measured. */
  readonly telemetry: TelemetryConfig | null
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
  /** The files that it names and that were read with it. */
  readonly files: readonly string[]
}

export type OrganizationConfig = {
  readonly id: OrgId
  readonly name: string
  /** Null: made at the first start. */
  readonly traceKey: string | null
  readonly loopSecret: string | null
  /** Believed as well, while another takes its place. */
  readonly otherLoopSecret: string | null
  readonly nextHop: NextHopConfig
  readonly microsoft: boolean
  readonly carryLimit: number
  /** Null: all mail goes by the next hop. */
  readonly api: ApiConfig | null
  readonly dkim: DkimConfig
  /** Null: nobody looks into its mail. */
  readonly scanner: ScannerOptions | null
}

export type ListenerConfig = {
  readonly options: ListenerOptions
  readonly delivery: DeliveryMode
  readonly rules: readonly ProofRule[]
  /** Null: nobody can sign in. */
  readonly accounts: AccountsConfig | null
}

/** Reads a configuration and every file that it names. Throws a {@link ConfigError} with all faults at once. */
export function loadConfig(path: string, now: Date = new Date()): Config {
  const file: ConfigFile = readConfigDocument(path, ConfigFile, 'gateway/gateway.sample.yaml')
  const named = new Set<string>()
  const at = (name: string) => {
    const found = resolve(dirname(resolve(path)), name)
    named.add(found)
    return found
  }
  const reading: Reading = { file, at, faults: [], now }
  const data = reading.at(file.data)
  const scanner = scannerOf(reading, file.scanner, 'scanner')
  const organizations = Object.entries(file.organizations).map(([id, org]) => organizationOf(reading, id, org, scanner))
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
    spool: spoolOf(reading),
    ops: file.ops,
    limits: limitsOf(file),
    telemetry: telemetryOf(file.telemetry, 'sealpost-gateway'),
    logLevel: file.log?.level ?? 'info',
    files: [...named].filter((one) => statSync(one, { throwIfNoEntry: false })?.isFile() ?? false).sort(),
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
    memory: limits?.memory ?? 33_554_432,
    received: limits?.received ?? 50,
    dataMs: 1000 * (limits?.dataSeconds ?? 600),
    budgetMs: 1000 * (limits?.budgetSeconds ?? 50),
    rates: { listener: {}, network: {}, sender: {}, ...limits?.rates },
  }
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
