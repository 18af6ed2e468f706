import { createHash } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import type { OrgId } from '../protocol/identifiers.ts'
import type { ReleaseFacts, ReleaseVerdict } from '../rulebook/facts.ts'
import { decideRelease, loadPolicy } from '../rulebook/index.ts'
import type { Clock } from './clock.ts'
import { type Journal, nobody } from './journal.ts'
import type { Store } from './store.ts'

/** The policies in force. */
export interface Policies {
  /** The policy in force, null while the organization never had a good one. Read it before the transaction. */
  active(org: OrgId): LoadedPolicy | null
  /** What is wrong with an organization's policy now, in plain words; null if nothing is. */
  fault(org: OrgId): string | null
}

export type LoadedPolicy = {
  readonly org: OrgId
  readonly hash: string
  readonly text: string
  /** Its senders' addresses lie in one of these. */
  readonly domains: readonly string[]
  /** The longest time to live that it allows, seconds. */
  readonly capSeconds: number
  /** Never throws; nothing allowed is denied. */
  readonly decideRelease: (facts: ReleaseFacts) => ReleaseVerdict
}

export type PolicyLoader = Policies & {
  /** Looks at every file once more; resolves when what is good is in force. */
  reload(): Promise<void>
  /** Looks again by itself whenever the folder changes, and every few seconds where it cannot be watched. */
  follow(): void
  stop(): Promise<void>
}

type Organizations = ReadonlyMap<OrgId, { readonly recipientTls: boolean; readonly domains: readonly string[] }>

type Options = {
  readonly folder: string
  /** What the rules of each may ask, and whose domain is whose. */
  readonly organizations: Organizations
  readonly store: Store
  readonly journal: Journal
  readonly clock: Clock
  readonly log: FastifyBaseLogger
}

const POLL = 5_000
/** Editors write a file in several steps: look when they are done. */
const SETTLE = 150
/** Rulebook bounds the file itself; this is for what is no policy at all. */
const LARGEST = 4 * 1024 * 1024

/**
 * Loads `<folder>/<organization>.yaml` of each organization. A good one is put in force and its text kept in the database; a faulty one
 * leaves the last good one, from the database if need be. Both are logged.
 */
export async function openPolicies(options: Options): Promise<PolicyLoader> {
  const { folder, organizations, store, journal, clock, log } = options
  const active = new Map<OrgId, LoadedPolicy>()
  const faults = new Map<OrgId, string>()
  const seen = new Map<OrgId, string>()
  let watcher: FSWatcher | null = null
  let timer: NodeJS.Timeout | null = null
  let soon: NodeJS.Timeout | null = null
  let reloading: Promise<void> = Promise.resolve()

  async function look(org: OrgId): Promise<void> {
    const file = join(folder, `${org}.yaml`)
    const text = await readPolicy(file)
    const hash = sha256(text ?? '')
    if (text !== null && seen.get(org) === hash) return
    if (text === null) {
      note(org, `the policy file ${file} is missing or cannot be read`)
      seen.delete(org)
      return
    }
    const loaded = tryLoad(org, text, file, organizations)
    if (loaded.kind === 'faulty') await reject(org, hash, loaded.faults)
    else await activate(org, loaded.policy)
    seen.set(org, hash)
  }
  async function activate(org: OrgId, policy: LoadedPolicy): Promise<void> {
    const previous = active.get(org)?.hash ?? null
    const now = clock.now()
    if (previous !== policy.hash) {
      await store.transact(async (tx) => {
        await tx.policies.activate({ org, hash: policy.hash, text: policy.text, activatedAt: now })
        journal.append(tx, org, nobody, () => ({
          kind: 'policy-activated',
          time: new Date(now).toISOString(),
          request: null,
          policyHash: policy.hash,
          previous,
          by: 'file',
        }))
      })
      log.info({ org, policy: policy.hash }, 'policy in force')
    }
    active.set(org, policy)
    faults.delete(org)
  }
  async function reject(org: OrgId, hash: string, found: readonly string[]): Promise<void> {
    const still = active.get(org)?.hash ?? null
    note(
      org,
      `the policy file is faulty, ${still === null ? 'and there is none in force' : 'the last good one stays in force'}: ${found[0] ?? ''}`,
    )
    log.warn({ org, policy: hash, faults: found.slice(0, 32) }, 'policy not activated')
    const now = clock.now()
    await store.transact(async (tx) =>
      journal.append(tx, org, nobody, () => ({
        kind: 'policy-rejected',
        time: new Date(now).toISOString(),
        request: null,
        policyHash: hash,
        active: still,
        faults: found.slice(0, 32).map((fault) => fault.toWellFormed().slice(0, 1024)),
      })),
    )
  }
  function note(org: OrgId, fault: string): void {
    if (faults.get(org) !== fault) log.warn({ org }, fault)
    faults.set(org, fault)
  }
  function reload(): Promise<void> {
    reloading = reloading.then(async () => {
      for (const org of organizations.keys()) {
        await look(org).catch((cause: unknown) => {
          log.error({ org, err: cause }, 'policy could not be looked at')
          faults.set(org, 'the policy file could not be looked at; the log has the cause')
        })
      }
    })
    return reloading
  }
  function reloadSoon(): void {
    soon ??= setTimeout(() => {
      soon = null
      void reload()
    }, SETTLE)
  }

  for (const org of organizations.keys()) {
    const kept = await store.read((reads) => reads.policies.active(org))
    const loaded = kept === null ? null : tryLoad(org, kept.text, `${org}.yaml`, organizations)
    if (loaded?.kind === 'policy') active.set(org, loaded.policy)
  }
  await reload()
  return {
    active: (org) => active.get(org) ?? null,
    fault: (org) => faults.get(org) ?? null,
    reload,
    follow: () => {
      timer = setInterval(reloadSoon, POLL).unref()
      try {
        watcher = watch(folder, reloadSoon).on('error', (cause) =>
          log.warn({ err: cause }, 'policies are polled, not watched'),
        )
      } catch (cause) {
        log.warn({ err: cause }, 'policies are polled, not watched')
      }
    },
    stop: async () => {
      watcher?.close()
      if (timer !== null) clearInterval(timer)
      if (soon !== null) clearTimeout(soon)
      await reloading
    },
  }
}

type Tried =
  | { readonly kind: 'policy'; readonly policy: LoadedPolicy }
  | { readonly kind: 'faulty'; readonly faults: readonly string[] }

function tryLoad(org: OrgId, text: string, file: string, organizations: Organizations): Tried {
  const loaded = loadPolicy(text, file, organizations.get(org) ?? { recipientTls: false })
  if (loaded.kind === 'faulty') {
    const faults = loaded.faults.map(
      ({ line, column, message, hint }) => `line ${line}, column ${column}: ${message}; ${hint}`,
    )
    return { kind: 'faulty', faults }
  }
  const { policy } = loaded
  if (policy.org !== org)
    return {
      kind: 'faulty',
      faults: [`it is the policy of ${policy.org}, not of ${org}; name the file after its organization`],
    }
  const foreign = foreignDomains(org, policy.domains, organizations)
  if (foreign.length > 0) return { kind: 'faulty', faults: foreign }
  return {
    kind: 'policy',
    policy: {
      org,
      hash: policy.hash,
      text,
      domains: policy.domains,
      capSeconds: policy.ttl.capSeconds,
      decideRelease: (facts) => decideRelease(policy, facts),
    },
  }
}

/** Whoever writes one organization's policy must not send in another's name. */
function foreignDomains(org: OrgId, domains: readonly string[], organizations: Organizations): string[] {
  const own = new Set(organizations.get(org)?.domains)
  return domains.flatMap((domain) => {
    const [owner] = [...organizations].find((other) => other[1].domains.includes(domain)) ?? []
    if (owner === undefined || own.has(domain)) return []
    return [`domains: ${domain} belongs to ${owner} in the key server's configuration; take it out`]
  })
}

async function readPolicy(file: string): Promise<string | null> {
  try {
    const { size } = await stat(file)
    return size > LARGEST ? null : await readFile(file, 'utf8')
  } catch {
    return null // Whatever keeps it from being read, the answer is the same: it is not there, and the caller says so.
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex')
}
