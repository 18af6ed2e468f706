import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createAuthority, issuePair } from '../../cli/authority.ts'
import { type Caller, createCaller, writePolicies, writeSecret } from './premises.ts'

/** The key server's entry. */
export const MAIN = fileURLToPath(new URL('../../keyserver/main.ts', import.meta.url))

/** Everything that `node keyserver/main.ts` needs, in one folder. */
export type Estate = { readonly folder: string; readonly file: string; readonly agent: Agent }

export async function writeEstate(folder: string, changes: (yaml: string) => string = (yaml) => yaml): Promise<Estate> {
  const now = new Date()
  const authority = await createAuthority(now)
  const server = await issuePair(authority, { kind: 'server', names: ['127.0.0.1'] }, now)
  const gateway = await issuePair(authority, { kind: 'client', role: 'gateway', name: 'gw1' }, now)
  writePolicies(folder)
  writeFileSync(join(folder, 'ca.pem'), authority.cert)
  writeFileSync(join(folder, 'server.pem'), server.cert)
  writeSecret(join(folder, 'server.key'), server.key)
  const file = join(folder, 'keyserver.yaml')
  writeFileSync(file, changes(YAML))
  return { folder, file, agent: new Agent({ keepAlive: true, ca: authority.cert, ...gateway }) }
}

const YAML = `organizations: {acme.example: {from: no-reply@acme.example, domains: [acme.example]}}
policies: policies
database: keyserver.sqlite
keyStore: keys
kek: {file: organization.key}
public: {host: 127.0.0.1, port: 0, url: 'http://127.0.0.1:8443'}
gatewayListener: {host: 127.0.0.1, port: 0, tls: {cert: server.pem, key: server.key, ca: ca.pem}}
ops: {host: 127.0.0.1, port: 0}
gateways: {gw1: {organizations: [acme.example], copies: 'http://127.0.0.1:1'}}
mail: {host: 127.0.0.1, port: 1, security: none}
log: {level: error}
`

export type Running = {
  readonly process: ChildProcess
  readonly addresses: Readonly<Record<string, string>>
  /** A gateway's caller; a new instance. */
  gateway(): Caller
  /** Resolves when the process is gone, however. */
  ended(): Promise<Ended>
}
export type Ended = { readonly code: number | null; readonly signal: string | null; readonly errors: string }

type Limits = {
  /** KiB beyond which no file grows: what a full disk is to a database. */
  readonly largestFile?: number
}

/** Starts a key server of its own process; resolves when its three listeners are up. Rejects with what it said if it ends before. */
export async function start(estate: Estate, { largestFile }: Limits = {}): Promise<Running> {
  const { child, ended } = launch(estate.file, largestFile)
  const addresses: Record<string, string> = {}
  await new Promise<void>((resolve, reject) => {
    let text = ''
    child.stdout.on('data', (part: Buffer) => {
      text += part.toString('utf8')
      for (const [, name = '', address = ''] of text.matchAll(/^keyserver (\w+) listening on (\S+)$/gm))
        addresses[name] = address
      if (Object.keys(addresses).length === 3) resolve()
    })
    void ended.then(({ code, errors }) => reject(new Error(`ended with ${code}: ${errors}`)))
  })
  return {
    process: child,
    addresses,
    gateway: () => createCaller(() => addresses.gateways ?? '', estate.agent),
    ended: () => ended,
  }
}

/** Runs the key server to its end. */
export async function runToEnd(file: string): Promise<Ended> {
  return await launch(file).ended
}

function launch(file: string, largestFile?: number) {
  // The test runner's own hook (in NODE_OPTIONS) would end the child by the very signal that is to be ignored here.
  const limit = largestFile === undefined ? '' : `unset NODE_OPTIONS; trap '' XFSZ; ulimit -f ${largestFile};`
  const child = spawn('bash', ['-c', `${limit} exec "$0" "$@"`, process.execPath, MAIN, file], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let errors = ''
  child.stderr.on('data', (part: Buffer) => {
    errors += part.toString('utf8')
  })
  const ended = new Promise<Ended>((resolve) => child.on('close', (code, signal) => resolve({ code, signal, errors })))
  return { child, ended }
}
