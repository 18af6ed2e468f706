import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { ConfigError, readConfigDocument } from '../protocol/config-document.ts'
import { readSecretFile } from '../protocol/secret-file.ts'
import { loadTlsFiles, type TlsPaths } from '../protocol/tls-files.ts'
import { telemetryOf } from '../telemetry/config.ts'
import type { Config, Tls } from './config.ts'
import { ConfigFile } from './config-schema.ts'

const defaults: Config['limits'] = {
  codesPerAddressPerHour: 5,
  codesPerNetworkPerHour: 60,
  wrongCodesPerAddressPerDay: 20,
  opensPerPersonPerHour: 200,
  requestsPerNetworkPerMinute: 600,
  sessionHours: 12,
}

/** Reads a configuration and every file that it names for TLS and passwords. Throws a {@link ConfigError} with all faults at once. */
export function loadConfig(file: string, now: Date = new Date()): Config {
  const parsed: ConfigFile = readConfigDocument(file, ConfigFile, 'keyserver/keyserver.sample.yaml')
  const at = (path: string) => resolve(dirname(resolve(file)), path)
  const faults: string[] = crossFaults(parsed).map((fault) => `${file}: ${fault}`)
  const tlsOf = (paths: TlsPaths): Tls => {
    const load = loadTlsFiles(
      { cert: at(paths.cert), key: at(paths.key), ...(paths.ca === undefined ? {} : { ca: at(paths.ca) }) },
      now,
    )
    if (load.kind === 'loaded') return { cert: load.files.cert, key: load.files.key, ca: load.files.ca ?? null }
    faults.push(...load.faults)
    return { cert: '', key: '', ca: null }
  }
  const gatewayTls = tlsOf(parsed.gatewayListener.tls)
  const config: Config = {
    // The schema holds ids to the pattern that the brand stands for.
    organizations: organizationsOf(parsed),
    policies: at(parsed.policies),
    database: at(parsed.database),
    disk: {
      keepFree: (parsed.disk?.keepFree ?? 64) * 1024 ** 2,
      reserve: (parsed.disk?.reserve ?? 16) * 1024 ** 2,
    },
    keyStore: at(parsed.keyStore),
    kek: { file: at(parsed.kek.file) },
    public: {
      ...parsed.public,
      tls: parsed.public.tls === undefined ? null : tlsOf(parsed.public.tls),
      trustedProxies: parsed.public.trustedProxies ?? [],
    },
    gatewayListener: { ...parsed.gatewayListener, tls: { ...gatewayTls, ca: gatewayTls.ca ?? '' } },
    ops: parsed.ops,
    gateways: parsed.gateways,
    officers: parsed.officers ?? {},
    mail: mailOf(parsed.mail, at, faults),
    limits: { ...defaults, ...parsed.limits },
    graceDays: parsed.graceDays ?? 1,
    telemetry: telemetryOf(parsed.telemetry, 'sealpost-keyserver'),
    log: parsed.log ?? { level: 'info' },
  }
  if (faults.length > 0) throw new ConfigError(faults)
  return config
}

/** What a schema cannot say. */
function crossFaults(file: ConfigFile): readonly string[] {
  const faults: string[] = []
  for (const kind of ['gateways', 'officers'] as const) {
    for (const [client, { organizations }] of Object.entries(file[kind] ?? {})) {
      for (const org of organizations) {
        if (!Object.hasOwn(file.organizations, org)) {
          faults.push(`${kind} > ${client} > organizations: ${org} is not among the organizations of this file`)
        }
      }
    }
  }
  if (!isLoopback(file.ops.host))
    faults.push('ops > host: expected a loopback address such as 127.0.0.1; health and metrics are for this machine')
  if (file.public.tls === undefined && !isLoopback(file.public.host)) {
    faults.push('public > tls: give cert and key, or listen on 127.0.0.1 behind a proxy that does TLS')
  }
  const origins = [file.public.url, ...Object.values(file.organizations).flatMap(({ url }) => url ?? [])]
  for (const origin of origins) {
    if (origin.startsWith('http:') && !isLoopback(new URL(origin).hostname)) {
      faults.push(`public > url: ${origin} must begin with https:// (plain http is for loopback only)`)
    }
  }
  if ((file.mail.user === undefined) !== (file.mail.password === undefined))
    faults.push('mail: user and password go together')
  if (file.mail.password !== undefined && file.mail.security === 'none' && !isLoopback(file.mail.host)) {
    faults.push('mail > security: a password is not sent without TLS; expected starttls or tls')
  }
  return faults
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function organizationsOf(file: ConfigFile): Config['organizations'] {
  const entries = Object.entries(file.organizations).map(([org, { url, from, domains, recipientTls }]) => [
    org,
    {
      url: url ?? null,
      from,
      domains: domains.map((domain) => domain.toLowerCase()),
      recipientTls: recipientTls ?? false,
    },
  ])
  return Object.fromEntries(entries) as Config['organizations']
}

function mailOf(mail: ConfigFile['mail'], at: (path: string) => string, faults: string[]): Config['mail'] {
  const secret = mail.password === undefined ? null : readSecretFile(at(mail.password.file), 'the password')
  if (secret?.kind === 'fault') faults.push(secret.fault)
  let ca: string | null = null
  if (mail.ca !== undefined) {
    try {
      ca = readFileSync(at(mail.ca), 'latin1')
    } catch {
      faults.push(`${at(mail.ca)}: the authority bundle cannot be read; name it in mail > ca`)
    }
  }
  return {
    host: mail.host,
    port: mail.port,
    security: mail.security ?? 'starttls',
    ca,
    user: mail.user ?? null,
    password: secret === null || secret.kind === 'fault' ? null : secret.content.toString('utf8').trim(),
  }
}
