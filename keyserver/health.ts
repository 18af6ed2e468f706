import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { OrgId } from '../protocol/identifiers.ts'
import type { Parts } from './parts.ts'
import type { PolicyLoader } from './policies.ts'
import type { Rounds } from './rounds.ts'

/** `down` stops releases or issues; `degraded` wants somebody to look. */
export type Finding = {
  readonly part: string
  readonly state: 'good' | 'degraded' | 'down'
  readonly because: string | null
}

export type Health = { readonly status: 'good' | 'degraded' | 'down'; readonly parts: readonly Finding[] }

/** Free space, octets, below which somebody must act, and below which the database may fail at any moment. */
const LOW = 1024 ** 3
const EMPTY = 64 * 1024 ** 2

/** Looks at every part now. Never throws: what throws is a finding. */
export async function examine(parts: Parts, policies: PolicyLoader, rounds: Rounds): Promise<Health> {
  const { store, keyring, config } = parts
  const findings = await Promise.all([
    probe('database', () => store.ping()),
    probe('keys', () => keyring.health()),
    space('disk', dirname(config.database)),
    space('key store disk', config.keyStore),
  ])
  const all = [...findings, logFinding(rounds), clockFinding(parts), ...policyFindings(parts, policies)]
  const down = all.some(({ state }) => state === 'down')
  const degraded = all.some(({ state }) => state === 'degraded')
  return { status: down ? 'down' : degraded ? 'degraded' : 'good', parts: all }
}

async function probe(part: string, act: () => Promise<void>): Promise<Finding> {
  try {
    await act()
    return { part, state: 'good', because: null }
  } catch (cause) {
    return { part, state: 'down', because: cause instanceof Error ? cause.message : String(cause) }
  }
}

async function space(part: string, folder: string): Promise<Finding> {
  try {
    const { bavail, bsize } = await statfs(folder)
    const free = bavail * bsize
    if (free >= LOW) return { part, state: 'good', because: null }
    const because = `${Math.floor(free / 1024 ** 2)} MiB are free in ${folder}: make room`
    return { part, state: free < EMPTY ? 'down' : 'degraded', because }
  } catch (cause) {
    return { part, state: 'down', because: `${folder}: ${cause instanceof Error ? cause.message : String(cause)}` }
  }
}

function logFinding(rounds: Rounds): Finding {
  const because = rounds.failure('checkpoint')
  return { part: 'log', state: because === null ? 'good' : 'down', because }
}

function clockFinding({ clock }: Parts): Finding {
  const state = clock.state()
  if (state.kind === 'good') return { part: 'clock', state: 'good', because: null }
  return { part: 'clock', state: state.kind === 'behind' ? 'down' : 'degraded', because: state.because }
}

function policyFindings({ config }: Parts, policies: PolicyLoader): readonly Finding[] {
  return Object.keys(config.organizations).map((id) => {
    // The keys of this record are organization ids: the configuration is checked for it.
    const because = policies.fault(id as OrgId)
    return { part: `policy ${id}`, state: because === null ? 'good' : 'degraded', because }
  })
}
