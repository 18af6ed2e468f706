import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createKeyServer, type KeyServer } from '../gateway/key-server.ts'
import { createMtlsClient } from '../gateway/mtls-client.ts'
import type { IssuedEnvelope, IssueRequest } from '../protocol/gateway-api.ts'
import { parseAddress, parseOrgId } from '../protocol/identifiers.ts'
import { latencyOf, round } from './statistics.ts'

/** Issues against a real key server, with the gateway's own client: its bulk calls, its certificate. */

export type Rate = {
  readonly count: number
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
}

/** What a release needs. */
export type Envelope = { readonly id: string; readonly wrappedKey: Uint8Array; readonly address: string }

export type Issuing = {
  /** So many issues, `inFlight` at a time. */
  issue(count: number, inFlight: number, address: (number: number) => string): Promise<Rate>
  /** Issue, confirmation and outcome of a message, one after the other: all that the key server does for a mail. The envelopes can be opened. */
  live(
    count: number,
    inFlight: number,
    address: (number: number) => string,
  ): Promise<Rate & { readonly envelopes: readonly Envelope[] }>
  close(): void
}

/** `certs` is the house's folder. */
export async function createIssuing(url: string, certs: string): Promise<Issuing> {
  const pem = (name: string) => readFileSync(join(certs, name), 'utf8')
  const names = { certificate: pem('gateway-gw1.pem'), key: pem('gateway-gw1.key'), ca: pem('ca.pem') }
  const client = createMtlsClient({ url, ...names, timeoutMs: 10_000, sockets: 8 })
  const keyServer = createKeyServer(client)
  const org = known(parseOrgId('acme.example'))
  const policy = await keyServer.policy(org, null)
  if (policy === null || policy === 'unchanged') throw new Error('the key server has no policy')

  const requestFor = (address: string): IssueRequest => ({
    org,
    policyHash: policy.hash,
    verdict: 'seal',
    rule: 'default',
    sender: known(parseAddress('anna@acme.example')),
    terms: { ttlSeconds: 30 * 86_400, proof: 'code' },
    messageDigest: random(),
    recipients: [{ address: known(parseAddress(address)), retryKey: random() }],
  })

  async function issueOne(address: string): Promise<IssuedEnvelope> {
    const result = await keyServer.issue(requestFor(address))
    if (result.kind === 'refused') throw new Error(`an issue was refused: ${result.code}`)
    return known(result.envelopes[0] ?? null)
  }

  return {
    issue: (count, inFlight, address) => timed(count, inFlight, (number) => issueOne(address(number))),
    async live(count, inFlight, address) {
      const envelopes: Envelope[] = []
      const rate = await timed(count, inFlight, async (number) => {
        const issued = await issueOne(address(number))
        await deliver(keyServer, org, issued)
        const wrappedKey = Buffer.from(issued.key?.wrappedKey ?? '', 'base64url')
        envelopes.push({ id: issued.id, wrappedKey, address: address(number) })
      })
      return { ...rate, envelopes }
    },
    close: () => client.close(),
  }
}

async function deliver(keyServer: KeyServer, org: IssueRequest['org'], { id, recipients }: IssuedEnvelope) {
  const sealed = { digest: random(), sealedSize: 11_000, plainSize: 10_000 }
  const [recipient] = recipients.map(({ address }) => address)
  const to = known(recipient ?? null)
  const confirmed = await keyServer.confirm({ org, id, sealed, recipients: [to] })
  if (confirmed.kind === 'refused') throw new Error(`a confirmation was refused: ${confirmed.code}`)
  const recorded = await keyServer.outcome({ org, id, recipient: to, outcome: 'sent', reply: '250 2.0.0 Ok' })
  if (recorded.kind === 'refused') throw new Error(`an outcome was refused: ${recorded.code}`)
}

/** Does `act` so many times, `inFlight` at a time, and says how fast. */
export async function timed(count: number, inFlight: number, act: (number: number) => Promise<unknown>): Promise<Rate> {
  const times: number[] = []
  let next = 0
  const worker = async () => {
    for (let number = next++; number < count; number = next++) {
      const begin = performance.now()
      await act(number)
      times.push(performance.now() - begin)
    }
  }
  const begin = performance.now()
  await Promise.all(Array.from({ length: inFlight }, worker))
  const seconds = (performance.now() - begin) / 1000
  const { p50, p99 } = latencyOf(times)
  return { count, perSecond: round(count / seconds), p50, p99 }
}

function random(): string {
  return randomBytes(32).toString('base64url')
}

function known<T>(value: T | null): T {
  if (value === null) throw new Error('the benchmark made something that does not parse')
  return value
}
