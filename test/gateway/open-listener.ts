import { PassThrough } from 'node:stream'
import type { Test } from 'tap'
import { createAccounts, hashPassword } from '../../gateway/accounts.ts'
import { blockListOf } from '../../gateway/address-range.ts'
import type { Intake } from '../../gateway/intake.ts'
import { createLimits } from '../../gateway/limits.ts'
import { type Listener, type ListenerOptions, openListener } from '../../gateway/listener.ts'
import { createLog } from '../../gateway/log.ts'
import { createMetrics, type Metrics } from '../../gateway/metrics.ts'
import type { Offer, Offers } from '../../gateway/offers.ts'
import type { Accept } from '../../gateway/reception.ts'
import { createRoom } from '../../gateway/room.ts'
import type { SessionParts } from '../../gateway/session.ts'
import { type OrgId, parseOrgId } from '../../protocol/identifiers.ts'

/** A listener whose messages end here: what a real one would dispatch is kept for the test to look at. */
export type Opened = {
  readonly listener: Listener
  readonly port: number
  /** What came in, with its octets. */
  readonly taken: { readonly intake: Intake; readonly octets: Buffer }[]
  readonly metrics: Metrics
  readonly log: () => string
  readonly folder: string
}

export const org = organization('acme.example')
export const other = organization('other.example')

export function organization(text: string): OrgId {
  const id = parseOrgId(text)
  if (id === null) throw new Error(`${text} is no organization id`)
  return id
}

export function ranges(...list: readonly string[]) {
  const made = blockListOf(list)
  if ('fault' in made) throw new Error(made.fault)
  return made.list
}

/** What can be delivered, the same for every organization. */
export function always(offer: Partial<Offer>): Offers {
  const whole = { size: 4_000_000, smtpUtf8: true, eightBit: true, requireTls: null, ...offer }
  return { of: () => whole, any: () => whole }
}

export async function open(
  t: Test,
  options: Partial<ListenerOptions> = {},
  parts: Partial<SessionParts> = {},
): Promise<Opened> {
  const taken: Opened['taken'] = []
  const written = new PassThrough()
  let log = ''
  written.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  const metrics = createMetrics()
  const folder = t.testdir()
  const accept: Accept = async (intake) => {
    const chunks: Uint8Array[] = []
    for await (const chunk of intake.content.accepted()) chunks.push(Buffer.from(chunk))
    taken.push({ intake, octets: Buffer.concat(chunks) })
    return { code: 250, status: '2.0.0', text: `taken as ${intake.id}` }
  }
  const listener = await openListener(
    {
      ...{
        name: 'test',
        address: '127.0.0.1',
        port: 0,
        sharedPort: false,
        tls: null,
        clearSignIn: false,
        recipientLimit: 5,
      },
      ...{ connectionLimit: 50, bareNewlines: 'refuse', idleTimeoutMs: 5000, drainMs: 3000, proxies: null },
      errorLimit: 50,
      ...options,
    },
    {
      ...{
        host: 'gw.acme.example',
        room: createRoom(0),
        folder,
        receivedLimit: 10,
        dataTimeoutMs: 5000,
        budgetMs: 5000,
      },
      ...{ accept, log: createLog('debug', written), metrics, now: () => new Date(), listener: 'test' },
      rules: [{ kind: 'listener', org }],
      accounts: null,
      domainsOf: (id) => (id === org ? ['acme.example'] : ['other.example']),
      offers: always({ size: 4_000_000 }),
      limits: createLimits({ listener: {}, network: {}, sender: {} }),
      ...parts,
    },
  )
  t.teardown(() => listener.close())
  return { listener, port: listener.port, taken, metrics, log: () => log, folder }
}

/** Accounts with one: `anna`, password `a long password`, of acme.example. */
export async function annasAccount() {
  return createAccounts([{ user: 'anna', org, hash: await hashPassword('a long password') }])
}
