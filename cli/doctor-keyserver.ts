import { Agent, request } from 'node:https'
import { TLSSocket } from 'node:tls'
import type { Config } from '../gateway/config.ts'
import type { OrgId } from '../protocol/identifiers.ts'
import { loadPolicy } from '../rulebook/index.ts'
import { lifeFinding } from './doctor-certificates.ts'
import { broken, type Finding, look, ok, reasonOf } from './doctor-finding.ts'
import { fieldOf } from './officer.ts'

/** What was found, and the domains that the active policies name: empty for an organization whose policy could not be had. */
export type KeyServerLook = {
  readonly findings: readonly Finding[]
  readonly domains: ReadonlyMap<OrgId, readonly string[]>
  /** Those whose rules ask `recipient.tls`. */
  readonly asking: ReadonlySet<OrgId>
}

type Answer = {
  readonly status: number
  readonly body: unknown
  readonly date: string | undefined
  readonly tookMs: number
  /** End of the certificate that was shown, ms; NaN where it cannot be read. */
  readonly ends: number
}

const LONGEST_ANSWER = 4 * 1024 * 1024
/** The Date field has whole seconds. */
const GRAIN_MS = 1_000
const SKEW_LOOK_MS = 5_000
/** System mail is believed for so long before its time. */
const SKEW_BROKEN_MS = 120_000

/** Asks for each organization's policy with the gateway's own certificate. */
export async function keyServerFindings(config: Config, now: () => number): Promise<KeyServerLook> {
  const findings: Finding[] = []
  const domains = new Map<OrgId, readonly string[]>()
  const asking = new Set<OrgId>()
  let clock: Finding | null = null
  for (const { id } of config.organizations) {
    try {
      const answer = await ask(config.keyServer, `/v1/policies/${encodeURIComponent(id)}`)
      if (clock === null) {
        clock = clockFinding(answer, now())
        if (Number.isFinite(answer.ends))
          findings.push(lifeFinding('the key server, as it answers', answer.ends, new Date(now())))
      }
      const { finding, named, asks } = policyFinding(id, answer)
      if (asks) asking.add(id)
      findings.push(finding)
      domains.set(id, named)
    } catch (error) {
      findings.push(unreached(config.keyServer.url, error))
      break
    }
  }
  clock ??= look('clock', 'the clock was compared with nothing', 'ask again when the key server answers')
  return { findings: [...findings, clock], domains, asking }
}

function policyFinding(
  id: OrgId,
  { status, body }: Answer,
): { finding: Finding; named: readonly string[]; asks: boolean } {
  const without = (finding: Finding) => ({ finding, named: [], asks: false })
  if (status === 404) {
    const todo = `put policies/${id}.yaml in the key server's folder and look at its log: a file with faults is not activated`
    return without(broken('key server', `no policy is active for ${id}: every mail gets 451`, todo))
  }
  if (status !== 200) {
    const why = `${status} ${fieldOf(body, 'code') ?? ''}`.trim()
    const todo = `let this gateway act for ${id}: gateways: <name>: organizations in keyserver.yaml`
    return without(broken('key server', `it refuses this gateway for ${id} (${why})`, todo))
  }
  const loaded = loadPolicy(fieldText(body), `${id}.yaml`)
  if (loaded.kind !== 'policy') {
    return without(
      broken(
        'key server',
        `the policy of ${id} cannot be read by this gateway`,
        'upgrade the gateway: it is older than the policy',
      ),
    )
  }
  const { hash, domains } = loaded.policy
  const finding = ok('key server', `answers; policy ${hash.slice(0, 12)} is active for ${id} (${domains.join(', ')})`)
  return { finding, named: domains, asks: loaded.policy.readsRecipientTls }
}

function fieldText(body: unknown): string {
  const text: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, 'text') : null
  return typeof text === 'string' ? text : ''
}

function unreached(url: string, error: unknown): Finding {
  const reason = reasonOf(error)
  const found = `${url} did not answer: ${reason}`
  if (/alert|certificate required|bad certificate|ECONNRESET|socket hang up/i.test(reason)) {
    return broken(
      'key server',
      found,
      'it does not take this certificate: name one (keyServer > cert) that its authority issued',
    )
  }
  if (/certificate|altname|self[- ]signed/i.test(reason)) {
    return broken(
      'key server',
      found,
      'name the authority that issued its certificate (keyServer > ca), and a host that stands in it (> url)',
    )
  }
  return broken('key server', found, 'start the key server, or correct keyServer > url; until then every mail gets 451')
}

/** Pure. `at` is our time when the answer was in. */
function clockFinding({ date, tookMs }: Answer, at: number): Finding {
  const theirs = Date.parse(date ?? '')
  if (Number.isNaN(theirs)) return look('clock', 'the key server does not tell its time', 'compare the clocks by hand')
  const apart = Math.max(0, Math.abs(at - tookMs / 2 - (theirs + GRAIN_MS / 2)) - GRAIN_MS / 2 - tookMs / 2)
  const seconds = `${Math.round(apart / 1000)} s`
  const todo =
    'let both machines follow NTP (timedatectl, chronyc tracking); expiry is judged by the key server’s clock'
  if (apart >= SKEW_BROKEN_MS)
    return broken('clock', `${seconds} apart from the key server: codes and notices are refused`, todo)
  if (apart >= SKEW_LOOK_MS) return look('clock', `${seconds} apart from the key server`, todo)
  return ok('clock', 'the same as the key server’s, to a few seconds')
}

function ask({ url, certificate, key, ca, timeoutMs }: Config['keyServer'], path: string): Promise<Answer> {
  const agent = new Agent({ keepAlive: false, cert: certificate, key, ca, minVersion: 'TLSv1.2' })
  const started = performance.now()
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs)
    const headers = { accept: 'application/json' }
    const sent = request(new URL(path, url), { agent, headers, signal }, (response) => {
      const tookMs = performance.now() - started
      const shown = response.socket instanceof TLSSocket ? response.socket.getPeerX509Certificate() : undefined
      const ends = Date.parse(shown?.validTo ?? '')
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (piece: string) => {
        text += piece
        if (text.length > LONGEST_ANSWER) sent.destroy(new Error('the answer is too long'))
      })
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode, headers } = response
        resolve({ status: statusCode ?? 0, body: readJson(text), date: headers.date, tookMs, ends })
      })
    })
    sent.on('error', reject)
    sent.end()
  })
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null // Something in between answered with a page; the status says enough.
  }
}
