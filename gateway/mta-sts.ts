import { isIP } from 'node:net'
import type { MTASTSPolicy } from 'mailauth'
import { getPolicy, validateMx } from 'mailauth/lib/mta-sts.js'
import { isAbroad } from './address-range.ts'
import { readIfThere, writeDurably } from './durable-file.ts'
import type { Log } from './log.ts'
import type { Resolver } from './resolver.ts'

/** What a domain demands of whoever delivers to it (RFC 8461). */
export type StsPolicy = {
  readonly enforced: boolean
  /** Whether the policy lets mail go to this exchange; true where there is none, or it is only being tested. */
  allows(exchange: string): boolean
}

/** The MTA-STS policies of other domains, remembered for as long as each asks for, over a restart, too: who takes its record away gains nothing. */
export type StsPolicies = {
  /** Never rejects: what cannot be fetched counts as RFC 8461 3.3 and 5.1 say. */
  of(domain: string): Promise<StsPolicy>
}

export type StsParts = {
  readonly resolver: Resolver
  /** Where policies are remembered. */
  readonly file: string
  readonly log: Log
  /** For the fetch of one policy, milliseconds. */
  readonly timeoutMs: number
}

type Known = { readonly policy: MTASTSPolicy; readonly askedAt: number }

/** A domain's record is asked for again after so many milliseconds. */
const FRESH_MS = 300_000
/** Domains remembered; those without a policy go first. */
const MOST = 20_000

/** Resolves with what an earlier run remembered; a file that cannot be read counts as none. */
export async function openStsPolicies({ resolver, file, log, timeoutMs }: StsParts): Promise<StsPolicies> {
  const known = await remembered(file, log)
  const asking = new Map<string, Promise<StsPolicy>>()
  let writing: Promise<void> = Promise.resolve()

  async function ask(domain: string): Promise<StsPolicy> {
    const before = known.get(domain)?.policy ?? null
    const { policy, status } = await getPolicy(domain, before, {
      strict: true,
      timeout: timeoutMs,
      resolver: resolving(resolver),
    })
    known.delete(domain)
    // What was not heard for a fault on the way is asked again with the next mail.
    if (status === 'errored' && !policy.id) return policyOf(policy)
    known.set(domain, { policy: lasting(policy), askedAt: performance.now() })
    forget(known)
    if (status === 'found' && (policy.mode !== 'none' || (before?.mode ?? 'none') !== 'none')) save()
    return policyOf(policy)
  }

  function save(): void {
    const demanding = [...known].filter(([, { policy }]) => policy.mode !== 'none')
    const text = JSON.stringify(Object.fromEntries(demanding.map(([domain, { policy }]) => [domain, policy])))
    writing = writing
      .then(() => writeDurably(file, text))
      .catch((cause: unknown) => log.warn('MTA-STS policies could not be remembered', { cause }))
  }

  return {
    of(domain) {
      const one = known.get(domain)
      if (one !== undefined && performance.now() - one.askedAt < FRESH_MS) return Promise.resolve(policyOf(one.policy))
      const under = asking.get(domain)
      if (under !== undefined) return under
      const asked = ask(domain).finally(() => asking.delete(domain))
      asking.set(domain, asked)
      return asked
    },
  }
}

function policyOf(policy: MTASTSPolicy): StsPolicy {
  const enforced = policy.mode === 'enforce'
  return { enforced, allows: (exchange) => !enforced || validateMx(exchange, policy).valid }
}

async function remembered(file: string, log: Log): Promise<Map<string, Known>> {
  const text = await readIfThere(file)
  try {
    const found = Object.entries(JSON.parse(text ?? '{}') as Record<string, MTASTSPolicy>)
    // Asked again before the first use, with this to fall back on.
    return new Map(found.map(([domain, policy]) => [domain, { policy, askedAt: Number.NEGATIVE_INFINITY }]))
  } catch (cause) {
    log.warn('what was remembered of MTA-STS policies cannot be read, and is fetched anew', { cause })
    return new Map()
  }
}

/** Without what went wrong when it was asked for last. */
function lasting({ error: _, ...policy }: MTASTSPolicy): MTASTSPolicy {
  return policy
}

function forget(known: Map<string, Known>): void {
  if (known.size <= MOST) return
  let [gone] = known.keys()
  for (const [domain, { policy }] of known) {
    if (policy.mode !== 'none') continue
    gone = domain
    break
  }
  if (gone !== undefined) known.delete(gone)
}

/** DNS as mailauth asks for it: by our servers, with the codes of Node's own. */
function resolving(resolver: Resolver) {
  return async (name: string, type: string): Promise<string[] | string[][]> => {
    const { values } = await (type === 'TXT' ? resolver.txt(name) : resolver.addresses(name))
    const found =
      type === 'TXT'
        ? values
        : values.filter((address) => isIP(address) === (type === 'A' ? 4 : 6) && isAbroad(address))
    if (found.length === 0) throw Object.assign(new Error(`${name} has no ${type} record`), { code: 'ENODATA' })
    return [...found]
  }
}
