import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { OrgId } from '../protocol/identifiers.ts'
import type { Parts } from './parts.ts'
import type { PolicyLoader } from './policies.ts'
import type { Room } from './room.ts'
import type { Rounds } from './rounds.ts'

/** `down` stops releases or issues; `degraded` wants somebody to look. */
export type Finding = {
  readonly part: string
  readonly state: 'good' | 'degraded' | 'down'
  readonly because: string | null
}

export type Health = { readonly status: 'good' | 'degraded' | 'down'; readonly parts: readonly Finding[] }

/** Free space, octets, below which somebody must act. */
const LOW = 1024 ** 3

type Subjects = Parts & { readonly policies: PolicyLoader; readonly rounds: Rounds; readonly room: Room }

/** Looks at every part now. Never throws: what throws is a finding. */
export async function examine(subjects: Subjects): Promise<Health> {
  const { store, keyring, config, policies, rounds, room } = subjects
  const findings = await Promise.all([
    probe('database', () => store.ping()),
    probe('keys', () => keyring.health()),
    roomFinding(room, dirname(config.database)),
    space('key store disk', config.keyStore, config.disk.keepFree),
  ])
  const all = [...findings, logFinding(rounds), clockFinding(subjects), ...policyFindings(subjects, policies)]
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

/** The disk of the database: what stops ordinary works comes first, then what is missing for the worst case, then what will be. */
async function roomFinding(room: Room, folder: string): Promise<Finding> {
  const part = 'disk'
  const found = await probe(part, () => room.look())
  if (found.state !== 'good') return found
  const state = room.state()
  if (state.kind === 'short') return { part, state: 'down', because: state.because }
  const because = 'the reserve for revocations is missing: make room'
  return room.hasReserve() ? await space(part, folder, 0) : { part, state: 'degraded', because }
}

async function space(part: string, folder: string, empty: number): Promise<Finding> {
  try {
    const { bavail, bsize } = await statfs(folder)
    const free = bavail * bsize
    if (free >= LOW) return { part, state: 'good', because: null }
    const because = `${Math.floor(free / 1024 ** 2)} MiB are free in ${folder}: make room`
    return { part, state: free < empty ? 'down' : 'degraded', because }
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
