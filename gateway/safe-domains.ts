import { domainOf } from '../protocol/identifiers.ts'
import type { Courier } from './courier.ts'
import type { IntakeRecipient } from './intake.ts'

/** A look at DNS and at a policy that its domain publishes; the client waits meanwhile. */
const LOOK_MS = 10_000

/** The domains among those of the recipients whose own hosts give verified TLS (`recipient.tls` of rules). None where the courier cannot know. */
export async function safeDomains(
  { safeDomains: look }: Courier,
  recipients: readonly IntakeRecipient[],
  deadline: AbortSignal,
): Promise<ReadonlySet<string>> {
  if (look === undefined) return new Set()
  const domains = new Set(recipients.map(({ address }) => domainOf(address)))
  return look([...domains], AbortSignal.any([deadline, AbortSignal.timeout(LOOK_MS)]))
}
