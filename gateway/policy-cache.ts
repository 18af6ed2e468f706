import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { OrgId } from '../protocol/identifiers.ts'
import { loadPolicy, type Policy } from '../rulebook/index.ts'
import { readIfThere, writeDurably } from './durable-file.ts'
import type { KeyServer } from './key-server.ts'
import type { Log } from './log.ts'

/**
 * The active policy of each organization as the key server last said. The copy on disk only bridges a start without the key server: a
 * verdict under a policy that is not active is turned back at issue, whatever the disk says.
 */
export type PolicyCache = {
  /** Null while none is known. */
  get(org: OrgId): Policy | null
  /** Asks now. Rejects if the key server cannot be asked. */
  refresh(org: OrgId): Promise<Policy | null>
  /** Asks for every organization; what fails is logged. */
  poll(): Promise<void>
}

export type PolicyCacheParts = {
  readonly organizations: readonly OrgId[]
  /** Exists already. */
  readonly folder: string
  readonly keyServer: Pick<KeyServer, 'policy'>
  readonly log: Log
}

/** Begins with what is on disk. */
export async function createPolicyCache(parts: PolicyCacheParts): Promise<PolicyCache> {
  const { folder, keyServer, log } = parts
  const known = new Map<OrgId, Policy>()
  const asking = new Map<OrgId, Promise<Policy | null>>()
  const pathOf = (org: OrgId) => join(folder, `${org}.yaml`)

  function read(org: OrgId, text: string, hash: string | null): Policy | null {
    const loaded = loadPolicy(text, `${org}.yaml`)
    const right =
      loaded.kind === 'policy' && loaded.policy.org === org && (hash === null || loaded.policy.hash === hash)
    if (right && loaded.kind === 'policy') return loaded.policy
    log.error('policy cannot be used', { org, hash: createHash('sha256').update(text).digest('hex') })
    return null
  }

  async function ask(org: OrgId): Promise<Policy | null> {
    const answer = await keyServer.policy(org, known.get(org)?.hash ?? null)
    if (answer === 'unchanged') return known.get(org) ?? null
    if (answer === null) {
      known.delete(org)
      return null
    }
    const policy = read(org, answer.text, answer.hash)
    if (policy === null) return known.get(org) ?? null
    known.set(org, policy)
    log.info('policy in force', { org, hash: policy.hash })
    await writeDurably(pathOf(org), answer.text)
    return policy
  }

  function refresh(org: OrgId): Promise<Policy | null> {
    const running = asking.get(org)
    if (running !== undefined) return running
    const asked = ask(org).finally(() => asking.delete(org))
    asking.set(org, asked)
    return asked
  }

  for (const org of parts.organizations) {
    const text = await readIfThere(pathOf(org))
    const policy = text === null ? null : read(org, text, null)
    if (policy !== null) known.set(org, policy)
  }
  return {
    get: (org) => known.get(org) ?? null,
    refresh,
    async poll() {
      const failed = (org: OrgId) => (cause: unknown) => log.warn('policy not fetched', { org, cause })
      await Promise.all(parts.organizations.map((org) => refresh(org).catch(failed(org))))
    },
  }
}
