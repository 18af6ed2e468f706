import type { OrganizationConfig } from '../gateway/config.ts'
import { createCloudTokens } from '../gateway/oauth-cloud.ts'
import { broken, type Finding, look, ok, reasonOf } from './doctor-finding.ts'

const TIMEOUT_MS = 15_000

/** Whether the provider lets us act for a mailbox, where mail goes by its API. No mail is sent, and nothing read. */
export async function apiFindings({ id, api }: OrganizationConfig, domains: readonly string[]): Promise<Finding[]> {
  if (api === null) return []
  const [first] = api.mailboxes ?? []
  const mailbox = first ?? `postmaster@${domains[0] ?? id}`
  const what = `${api.endpoint} (${api.provider})`
  try {
    await createCloudTokens(api.credentials).token(mailbox, AbortSignal.timeout(TIMEOUT_MS))
    return [ok('next hop', `${what}: sign-in for ${id} gives a token`)]
  } catch (error) {
    const found = `${what}: no token for ${mailbox}: ${reasonOf(error)}`
    if (first === undefined && api.provider === 'gmail') {
      return [
        look(
          'next hop',
          found,
          'if there is no such mailbox, name one under api > mailboxes; else see broken sign-in in the log',
        ),
      ]
    }
    const todo =
      'renew the secret or key, and look at what the application or service account may do; mail goes by nextHop or gets 451'
    return [broken('next hop', found, todo)]
  }
}
