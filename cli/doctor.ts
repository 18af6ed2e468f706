import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { type Config, loadConfig } from '../gateway/config.ts'
import type { Config as KeyServerConfig } from '../keyserver/config.ts'
import { loadConfig as loadKeyServerConfig } from '../keyserver/config-file.ts'
import { ConfigError } from '../protocol/config-document.ts'
import { domainOf, type OrgId, parseAddress } from '../protocol/identifiers.ts'
import { apiFindings } from './doctor-api.ts'
import { canaryFindings } from './doctor-canary.ts'
import { certificateFindings } from './doctor-certificates.ts'
import { diskFindings } from './doctor-disk.ts'
import { dnsFindings } from './doctor-dns.ts'
import { broken, type Finding, look, ok, renderFindings } from './doctor-finding.ts'
import { heldFindings } from './doctor-held.ts'
import { keyServerFindings } from './doctor-keyserver.ts'
import { listenerFindings } from './doctor-listener.ts'
import { loopFindings, nextHopFindings } from './doctor-next-hop.ts'
import { createNames, type Names } from './doctor-resolver.ts'
import { scannerFindings } from './doctor-scanner.ts'
import { spoolFindings } from './doctor-spool.ts'
import { exits, type Io, UsageError } from './io.ts'

const options = {
  gateway: { type: 'string' },
  keyserver: { type: 'string' },
  send: { type: 'string' },
  from: { type: 'string' },
  resolver: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const

/** What the doctor has from outside, for tests to give in place of the real. */
type Surroundings = { readonly names?: Names; readonly now?: () => Date }

/** `sealpost doctor`: looks at everything that mail needs, changes nothing, and answers 1 if anything is broken. */
export async function doctor(argv: readonly string[], io: Io, { names, now }: Surroundings = {}): Promise<number> {
  const { values } = parseArgs({ args: [...argv], options })
  if (values.gateway === undefined) throw new UsageError('doctor: name the configuration with --gateway gateway.yaml')
  if (values.from !== undefined && values.send === undefined) throw new UsageError('doctor: --from goes with --send')
  for (const address of [values.send, values.from]) {
    if (address !== undefined && (parseAddress(address) === null || /[\s<>]|[^\x20-\x7e]/.test(address)))
      throw new UsageError(`doctor: ${JSON.stringify(address)} is no address that can be written in SMTP`)
  }
  const time = now ?? (() => new Date())
  const read = configurations(values.gateway, values.keyserver, time())
  const findings = [...read.findings]
  if (read.gateway !== null) {
    const asked = names ?? createNames(values.resolver)
    findings.push(...(await examine(read.gateway, read.keyServer, asked, time, values)))
  }
  const healthy = findings.every(({ level }) => level !== 'broken')
  if (values.json) io.out(JSON.stringify({ healthy, findings }, null, 2))
  else for (const line of renderFindings(findings)) io.out(line)
  return healthy ? exits.ok : exits.failed
}

type Read = {
  readonly gateway: Config | null
  readonly keyServer: KeyServerConfig | null
  readonly findings: readonly Finding[]
}

/** Both files as the processes themselves read them. A faulty one leaves the rest unseen, and says so. */
function configurations(gatewayFile: string, keyServerFile: string | undefined, now: Date): Read {
  const findings: Finding[] = []
  const load = <T>(file: string, read: () => T): T | null => {
    try {
      const config = read()
      findings.push(ok('configuration', `${file} has no faults`))
      return config
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      const todo = 'the process does not start before this is put right'
      findings.push(...error.faults.map((fault) => broken('configuration', fault, todo)))
      return null
    }
  }
  const gateway = load(gatewayFile, () => loadConfig(gatewayFile, now))
  const keyServer =
    keyServerFile === undefined ? null : load(keyServerFile, () => loadKeyServerConfig(keyServerFile, now))
  if (gateway === null) {
    findings.push(look('configuration', 'nothing else was looked at', 'put the configuration right, then ask again'))
  }
  return { gateway, keyServer, findings }
}

type Wishes = { readonly send?: string | undefined; readonly from?: string | undefined }

async function examine(
  config: Config,
  keyServer: KeyServerConfig | null,
  names: Names,
  now: () => Date,
  { send, from }: Wishes,
): Promise<Finding[]> {
  const answered = await keyServerFindings(config, () => now().getTime())
  const domainsOf = (id: OrgId): readonly string[] => {
    const known = answered.domains.get(id) ?? []
    return known.length > 0 ? known : [id]
  }
  const folders = {
    data: config.data,
    'sealed copies': config.copies.folder,
    spool: config.spool.folder,
    ...(keyServer === null ? {} : { database: dirname(keyServer.database), 'key store': keyServer.keyStore }),
  }
  const each = async (of: (org: Config['organizations'][number]) => Promise<readonly Finding[]>) =>
    (await Promise.all(config.organizations.map(of))).flat()
  const found = [
    ...(await listenerFindings(config)),
    ...certificateFindings(config, keyServer, now()),
    ...answered.findings,
    ...(await each((org) => nextHopFindings(org, domainsOf(org.id), answered.asking.has(org.id)))),
    ...(await each((org) => apiFindings(org, domainsOf(org.id)))),
    ...(await scannerFindings(config)),
    ...(await each((org) => loopFindings(config, org))),
    ...(await spoolFindings(config, now())),
    ...(await heldFindings(config, now())),
    ...(await diskFindings(folders)),
    ...(await each((org) => dnsFindings(names, org, domainsOf(org.id)))),
  ]
  if (send === undefined) return found
  const chosen = senderOf(config, domainsOf, from)
  if (chosen === null) {
    const todo = 'say --from with an address in one of the organizations’ domains'
    return [...found, broken('canary', `${from} is in none of the domains of this gateway`, todo)]
  }
  const database = keyServer?.database ?? null
  return [...found, ...(await canaryFindings({ config, ...chosen, to: send, database, now: now() }))]
}

/** The wanted sender with its organization, or the postmaster of the first one (RFC 5321 4.5.1). */
function senderOf(config: Config, domainsOf: (id: OrgId) => readonly string[], from: string | undefined) {
  const wanted = from === undefined ? null : parseAddress(from)
  for (const { id } of config.organizations) {
    const domains = domainsOf(id)
    if (from === undefined) return { org: id, from: `postmaster@${domains[0] ?? id}` }
    if (wanted !== null && domains.includes(domainOf(wanted))) return { org: id, from }
  }
  return null
}
