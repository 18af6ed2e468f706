import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { pino } from 'pino'
import { createAuthority, issuePair, type Pair } from '../../cli/authority.ts'
import type { Config } from '../../keyserver/config.ts'
import { type Server, startServer } from '../../keyserver/server.ts'
import type { IssuedEnvelope, IssueRequest, IssueResult } from '../../protocol/gateway-api.ts'
import { type OrgId, parseOrgId } from '../../protocol/identifiers.ts'

/** A whole key server with certificates of its own, and clients that hold some. */
export type Premises = {
  readonly folder: string
  readonly config: Config
  readonly server: Server
  /** Moves the wall clock and nothing else, milliseconds. */
  shift(by: number): void
  /** Lets time pass, milliseconds: wall clock and elapsed time. */
  pass(by: number): void
  /** A caller with the certificate of this name, or without one. */
  client(name: ClientName | null): Caller
  /** Stops the server and starts it again on the same files. */
  restart(): Promise<void>
  close(): Promise<void>
}

export type ClientName = 'gw1' | 'gw2' | 'foreign' | 'officer1' | 'stray' | 'unlisted'
export type Answer = { readonly status: number; readonly body: unknown; readonly headers: Record<string, unknown> }
export type Caller = {
  /** Random per caller, as it is per start of a gateway. */
  readonly instance: string
  post(path: string, body: unknown): Promise<Answer>
  get(path: string, headers?: Record<string, string>): Promise<Answer>
  /** One bulk call: its results. */
  bulk<T>(path: string, requests: readonly unknown[]): Promise<readonly T[]>
  issue(request: IssueRequest): Promise<IssueResult>
}

export const acme = known(parseOrgId('acme.example'))
export const other = known(parseOrgId('other.example'))

/** A policy that seals everything and lets everybody in. */
export const POLICY = (org: string) => `version: 1
organization: ${org}
domains: [${org}]
ttl: {default: 7d, cap: 30d}
outbound: []
default: seal
release:
  - {name: all, when: 'true', then: allow}
tests: {outbound: [], release: []}
`

const roles = {
  gw1: { role: 'gateway', name: 'gw1' },
  gw2: { role: 'gateway', name: 'gw2' },
  foreign: { role: 'gateway', name: 'foreign' },
  officer1: { role: 'officer', name: 'officer1' },
  stray: { role: 'gateway', name: 'gw1' },
  unlisted: { role: 'gateway', name: 'unlisted' },
} as const

export async function openPremises(
  folder: string,
  options: { readonly policy?: string; readonly recipientTls?: boolean } = {},
): Promise<Premises> {
  const now = new Date()
  const authority = await createAuthority(now)
  const strangers = await createAuthority(now)
  const serverPair = await issuePair(authority, { kind: 'server', names: ['localhost', '127.0.0.1'] }, now)
  const pairs = new Map<ClientName, Pair>()
  for (const [key, { role, name }] of Object.entries(roles)) {
    const by = key === 'stray' ? strangers : authority
    pairs.set(key as ClientName, await issuePair(by, { kind: 'client', role, name }, now))
  }
  writePolicies(folder)
  if (options.policy !== undefined) writeFileSync(join(folder, 'policies', 'acme.example.yaml'), options.policy)
  const config = configIn(folder, { ...serverPair, ca: authority.cert }, options.recipientTls)
  let wall = 0
  let elapsed = 0
  const start = () =>
    startServer(config, {
      log: pino({ level: 'silent' }),
      version: '0.0.0',
      time: { wall: () => Date.now() + wall, elapsed: () => performance.now() + elapsed },
    })
  let server = await start()
  const agents: Agent[] = []
  const self: Premises = {
    folder,
    config,
    get server() {
      return server
    },
    shift: (by) => {
      wall += by
    },
    pass: (by) => {
      wall += by
      elapsed += by
    },
    client: (name) => {
      const pair = name === null ? undefined : pairs.get(name)
      const agent = new Agent({ keepAlive: true, ca: authority.cert, ...(pair ?? {}) })
      agents.push(agent)
      return createCaller(() => server.addresses.gateways, agent)
    },
    restart: async () => {
      for (const agent of agents) agent.destroy()
      await server.close()
      server = await start()
    },
    close: async () => {
      for (const agent of agents) agent.destroy()
      await server.close()
    },
  }
  return self
}

/** A caller of whatever listens at `address` now. */
export function createCaller(address: () => string, agent: Agent): Caller {
  const instance = randomBytes(16).toString('base64url')
  const ask = (method: string, path: string, headers: Record<string, string>, body?: string) =>
    new Promise<Answer>((resolve, reject) => {
      const call = request(new URL(path, address()), { method, agent, headers }, (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('end', () => {
          const text = Buffer.concat(parts).toString('utf8')
          const body: unknown = text === '' ? null : JSON.parse(text)
          resolve({ status: response.statusCode ?? 0, body, headers: response.headers })
        })
        response.on('error', reject)
      })
      call.on('error', reject)
      call.end(body)
    })
  const post = (path: string, body: unknown) =>
    ask('POST', path, { 'content-type': 'application/json' }, JSON.stringify(body))
  async function bulk<T>(path: string, requests: readonly unknown[]): Promise<readonly T[]> {
    const { status, body } = await post(path, { instance, requests })
    if (status !== 200) throw new Error(`${path} answered ${status}: ${JSON.stringify(body)}`)
    return (body as { readonly results: readonly T[] }).results
  }
  return {
    instance,
    post,
    get: (path, headers = {}) => ask('GET', path, headers),
    bulk,
    issue: async (one) => known((await bulk<IssueResult>('/v1/issue', [one]))[0]),
  }
}

function configIn(folder: string, tls: { cert: string; key: string; ca: string }, recipientTls = false): Config {
  const organization = { url: null, from: 'no-reply@acme.example', domains: ['acme.example'], recipientTls }
  const both: readonly OrgId[] = [acme, other]
  return {
    organizations: { [acme]: organization, [other]: { ...organization, domains: ['other.example'] } },
    policies: join(folder, 'policies'),
    database: join(folder, 'keyserver.sqlite'),
    disk: { keepFree: 4 * 1024 ** 2, reserve: 1024 ** 2 },
    keyStore: join(folder, 'keys'),
    kek: { file: join(folder, 'organization.key') },
    public: { host: '127.0.0.1', port: 0, url: 'http://127.0.0.1:8443', tls: null, trustedProxies: [] },
    gatewayListener: { host: '127.0.0.1', port: 0, tls },
    ops: { host: '127.0.0.1', port: 0 },
    gateways: {
      gw1: { organizations: both, copies: 'http://127.0.0.1:1' },
      gw2: { organizations: [acme], copies: 'http://127.0.0.1:2' },
      foreign: { organizations: [other], copies: 'http://127.0.0.1:3' },
    },
    officers: { officer1: { organizations: [acme] } },
    mail: { host: '127.0.0.1', port: 1, security: 'none', ca: null, user: null, password: null },
    limits: {
      codesPerAddressPerHour: 5,
      codesPerNetworkPerHour: 60,
      wrongCodesPerAddressPerDay: 20,
      opensPerPersonPerHour: 200,
      requestsPerNetworkPerMinute: 600,
      sessionHours: 12,
    },
    graceDays: 1,
    telemetry: null,
    log: { level: 'error' },
  }
}

/** A request to seal for `recipients`, under the policy in force; each with a retry key of its own, or those given. */
export function sealing(
  premises: Premises,
  recipients: readonly string[],
  keys: readonly (string | null)[] = [],
): IssueRequest {
  const policy = premises.server.parts.policies.active(acme)
  return {
    org: acme,
    policyHash: policy?.hash ?? '0'.repeat(64),
    verdict: 'seal',
    rule: 'default',
    sender: 'anna@acme.example' as IssueRequest['sender'],
    terms: { ttlSeconds: 3600, proof: 'code' },
    messageDigest: null,
    recipients: recipients.map((address, i) => ({
      address: address as IssueRequest['recipients'][number]['address'],
      retryKey: keys.length > 0 ? (keys[i] ?? null) : random32(),
    })),
  }
}

/** The one envelope of an answer that must have exactly one. */
export function onlyEnvelope(result: IssueResult): IssuedEnvelope {
  if (result.kind !== 'issued' || result.envelopes.length !== 1)
    throw new Error(`not one envelope: ${JSON.stringify(result)}`)
  return known(result.envelopes[0])
}

export function sealed(id: string, recipients: readonly string[], digest: string = random32()) {
  return { org: acme, id, sealed: { digest, sealedSize: 2000, plainSize: 1000 }, recipients }
}

export const random32 = (): string => randomBytes(32).toString('base64url')

export function known<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error('a value that must be there is not')
  return value
}

/** Policies of both organizations, in the folder's `policies`. */
export function writePolicies(folder: string): void {
  mkdirSync(join(folder, 'policies'), { recursive: true })
  for (const org of [acme, other]) writeFileSync(join(folder, 'policies', `${org}.yaml`), POLICY(org))
}

/** Writes a file that only this account can read. */
export function writeSecret(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600 })
  chmodSync(path, 0o600)
}
