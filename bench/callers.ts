import { parseArgs } from 'node:util'
import { startCatcher } from './catcher.ts'
import { createIssuing, type Rate } from './issuing.ts'
import { createReleasing } from './releasing.ts'

/**
 * A process that plays a gateway and many recipients towards a key server, and prints {@link Called} as one line of JSON. It also takes
 * the mails with the codes, at the provider's port.
 */

export type Called = {
  readonly issue: Rate
  /** Issue, confirmation and outcome. */
  readonly live: Rate
  readonly release: Rate
  readonly releaseAtRate: Rate
}

const PEOPLE = 40
const IN_FLIGHT = 32
const RATE = 500

const { values } = parseArgs({
  options: {
    gateways: { type: 'string', default: '' },
    origin: { type: 'string', default: '' },
    certs: { type: 'string', default: '' },
    provider: { type: 'string', default: '' },
    count: { type: 'string', default: '2000' },
  },
})
const count = Number(values.count)
const addressOf = (number: number) => `person${number % PEOPLE}@example.org`
const catcher = await startCatcher(Number(values.provider))
const issuing = await createIssuing(values.gateways, values.certs)
await issuing.issue(500, IN_FLIGHT, addressOf)
const issue = await issuing.issue(count, IN_FLIGHT, addressOf)
const { envelopes, ...live } = await issuing.live(count, IN_FLIGHT, addressOf)
const firsts = Array.from({ length: PEOPLE }, (_, i) => envelopes.find(({ address }) => address === addressOf(i)))
const releasing = await createReleasing(
  values.origin,
  firsts.filter((first) => first !== undefined),
  catcher,
)
await releasing.flatOut(envelopes.slice(0, 500), IN_FLIGHT)
const release = await releasing.flatOut(envelopes, IN_FLIGHT)
const releaseAtRate = await releasing.atRate(envelopes, RATE)
releasing.close()
issuing.close()
await catcher.stop()
const called: Called = { issue, live, release, releaseAtRate }
process.stdout.write(`${JSON.stringify(called)}\n`)
