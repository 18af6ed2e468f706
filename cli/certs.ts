import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { domainToASCII } from 'node:url'
import { parseArgs } from 'node:util'
import { loadTlsFiles } from '../protocol/tls-files.ts'
import { createAuthority, issuePair, type Pair, type Purpose, purposeOf } from './authority.ts'
import { exits, Failure, type Io, UsageError } from './io.ts'

/** One pair to be made: its files are `<stem>.pem` and `<stem>.key`. */
type Wanted = { readonly stem: string; readonly purpose: Purpose; readonly use: string }

const AUTHORITY = 'ca'
const DEFAULT_NAMES = 'localhost,127.0.0.1,::1'
const CLIENT_NAME = /^[a-z0-9](?:[a-z0-9._-]{0,46}[a-z0-9])?$/
const HOST_NAME = /^(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/

/**
 * `sealpost certs init [--renew]` and `certs add`: keeps the local authority in one folder. Nothing is ever overwritten but by --renew, which
 * replaces the end certificates and leaves the authority. Keys are written 0600, each file whole or not at all.
 */
export async function certs(argv: readonly string[], io: Io, now: Date = new Date()): Promise<number> {
  const [action, ...rest] = argv
  if (action !== 'init' && action !== 'add') throw new UsageError(`certs: say init or add, not ${action ?? 'nothing'}`)
  const { values } = parseArgs({
    args: rest,
    options: {
      to: { type: 'string', default: 'certs' },
      name: { type: 'string' },
      gateway: { type: 'string', multiple: true },
      officer: { type: 'string', multiple: true },
      renew: { type: 'boolean', default: false },
    },
  })
  if (action === 'add') {
    if (values.renew || values.name !== undefined)
      throw new UsageError('certs add: takes --to, --gateway and --officer')
    const clients = [...clientsOf('gateway', values.gateway ?? []), ...clientsOf('officer', values.officer ?? [])]
    if (clients.length === 0) throw new UsageError('certs add: name at least one --gateway or --officer')
    return add(values.to, clients, io, now)
  }
  if (values.renew) {
    if (values.gateway || values.officer) throw new UsageError('certs init --renew: clients are added with: certs add')
    return renew(values.to, values.name === undefined ? null : hostNames(values.name), io, now)
  }
  const wanted = [
    ...serversOf(hostNames(values.name ?? DEFAULT_NAMES)),
    ...clientsOf('gateway', values.gateway ?? ['gw1']),
    ...clientsOf('officer', values.officer ?? ['officer1']),
  ]
  return init(values.to, wanted, io, now)
}

async function init(folder: string, wanted: readonly Wanted[], io: Io, now: Date): Promise<number> {
  refuseToOverwrite(folder, [AUTHORITY, ...wanted.map((one) => one.stem)], 'certs init --renew')
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  const authority = await createAuthority(now)
  writePair(folder, AUTHORITY, authority)
  io.out(`Made a local authority in ${folder}:`)
  describe(io, folder, `${AUTHORITY}.pem`, 'the authority: name it as `ca` wherever the other side is to be checked')
  describe(io, folder, `${AUTHORITY}.key`, 'its key, needed only to make more certificates: keep it off the servers')
  await make(folder, authority, wanted, io, now)
  io.out('Keys are readable by you alone. Certificates last one year; renew them with: sealpost certs init --renew')
  return exits.ok
}

async function add(folder: string, wanted: readonly Wanted[], io: Io, now: Date): Promise<number> {
  const authority = readAuthority(folder, now)
  refuseToOverwrite(
    folder,
    wanted.map((one) => one.stem),
    'certs init --renew',
  )
  await make(folder, authority, wanted, io, now)
  return exits.ok
}

async function renew(folder: string, names: readonly string[] | null, io: Io, now: Date): Promise<number> {
  const authority = readAuthority(folder, now)
  const wanted = readdirSync(folder)
    .filter((file) => file.endsWith('.pem') && file !== `${AUTHORITY}.pem`)
    .sort()
    .flatMap((file) => renewable(folder, file.slice(0, -'.pem'.length), authority, names))
  if (wanted.length === 0) throw new Failure(`${folder}: holds no certificate of this authority to renew`)
  await make(folder, authority, wanted, io, now)
  io.out('Restart gateways and key servers: they read these files when they start.')
  return exits.ok
}

/** What stands in `<stem>.pem`, to be made again; nothing where another authority made it. */
function renewable(folder: string, stem: string, authority: Pair, names: readonly string[] | null): Wanted[] {
  const purpose = purposeOf(readFileSync(join(folder, `${stem}.pem`), 'latin1'), authority)
  if (purpose === null) return []
  if (purpose.kind === 'client') return clientsOf(purpose.role, [purpose.name])
  const known = serversOf(names ?? purpose.names).find((one) => one.stem === stem)
  return [known ?? { stem, purpose: { kind: 'server', names: names ?? purpose.names }, use: 'a server' }]
}

async function make(folder: string, authority: Pair, wanted: readonly Wanted[], io: Io, now: Date): Promise<void> {
  for (const one of wanted) {
    writePair(folder, one.stem, await issuePair(authority, one.purpose, now))
    describe(io, folder, `${one.stem}.pem, .key`, one.use)
  }
}

function readAuthority(folder: string, now: Date): Pair {
  const load = loadTlsFiles({ cert: join(folder, `${AUTHORITY}.pem`), key: join(folder, `${AUTHORITY}.key`) }, now)
  if (load.kind === 'faults') {
    throw new Failure(`No usable authority in ${folder}:\n${load.faults.join('\n')}`, exits.config)
  }
  return load.files
}

function refuseToOverwrite(folder: string, stems: readonly string[], instead: string): void {
  const there = stems.flatMap((stem) => [`${stem}.pem`, `${stem}.key`]).filter((file) => existsSync(join(folder, file)))
  if (there.length === 0) return
  throw new Failure(
    `${folder}: already holds ${there.join(', ')}; nothing was written. To replace what is there, run: sealpost ${instead}`,
  )
}

/** A key before its certificate, each through a rename: whoever reads meanwhile finds an old or a new file, never half of one. */
function writePair(folder: string, stem: string, pair: Pair): void {
  write(join(folder, `${stem}.key`), pair.key, 0o600)
  write(join(folder, `${stem}.pem`), pair.cert, 0o644)
}

function write(path: string, text: string, mode: number): void {
  const fresh = `${path}.new`
  rmSync(fresh, { force: true })
  writeFileSync(fresh, text, { mode, flag: 'wx' })
  renameSync(fresh, path)
}

function serversOf(names: readonly string[]): Wanted[] {
  const purpose: Purpose = { kind: 'server', names }
  return [
    { stem: 'keyserver', purpose, use: `the key server, to browsers and gateways, as ${names.join(', ')}` },
    { stem: 'gateway', purpose, use: `the gateway, for STARTTLS and sealed copies, as ${names.join(', ')}` },
  ]
}

function clientsOf(role: 'gateway' | 'officer', names: readonly string[]): Wanted[] {
  const subject = role === 'gateway' ? 'a gateway' : 'an officer'
  return [...new Set(names)].map((name) => {
    if (!CLIENT_NAME.test(name)) {
      throw new UsageError(
        `certs: ${JSON.stringify(name)} is no name for ${subject}; use a-z, 0-9, dot, dash, at most 48`,
      )
    }
    const use = `shows the key server that its holder is the ${role} ${name}`
    return { stem: `${role}-${name}`, purpose: { kind: 'client', role, name }, use }
  })
}

function hostNames(list: string): string[] {
  const names = list.split(',').map((name) => name.trim())
  return names.map((name) => {
    if (isIP(name) !== 0) return name
    const ascii = name.startsWith('*.') ? `*.${domainToASCII(name.slice(2))}` : domainToASCII(name)
    if (ascii.length > 253 || !HOST_NAME.test(ascii)) {
      throw new UsageError(`certs: ${JSON.stringify(name)} in --name is neither a host name nor an IP address`)
    }
    return ascii
  })
}

function describe(io: Io, folder: string, file: string, use: string): void {
  io.out(`  ${join(folder, file).padEnd(34)} ${use}`)
}
