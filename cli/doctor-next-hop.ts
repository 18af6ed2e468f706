import { lookup } from 'node:dns/promises'
import { existsSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { isLoopback } from '../gateway/address-range.ts'
import type { Config, OrganizationConfig } from '../gateway/config.ts'
import { GreetingFault, openSmtpClient, phaseTimeouts } from '../gateway/smtp-client.ts'
import { defaultTlsPolicy } from '../gateway/tls-policy.ts'
import { broken, type Finding, look, ok, reasonOf } from './doctor-finding.ts'
import { mxFindings } from './doctor-mx.ts'

/** Of a greeting; a tenth is for the connection. */
const BUDGET_MS = 30_000

/** Connects to the next hop as mail would, up to sign-in, and takes leave. `asksTls`: the policy asks `recipient.tls`. */
export async function nextHopFindings(
  org: OrganizationConfig,
  domains: readonly string[],
  asksTls: boolean,
): Promise<Finding[]> {
  const { nextHop, carryLimit } = org
  if (nextHop.kind === 'mx') return mxFindings(org, nextHop, domains)
  const { host, port, helo } = nextHop
  const policy = nextHop.tls ?? defaultTlsPolicy(host)
  const place = `${host}:${port}`
  try {
    const hop = { host, port, helo, tls: policy, implicitTls: nextHop.implicitTls ?? false, auth: nextHop.auth ?? null }
    const { wire, capabilities } = await openSmtpClient(hop, phaseTimeouts(BUDGET_MS))
    wire.end('QUIT\r\n')
    const { tls, size, smtputf8 } = capabilities
    const how = tls ? `TLS (${policy.mode})` : 'no TLS'
    const most = size === null ? '' : `, takes ${size} octets`
    const found = [ok('next hop', `${place} greets us: ${how}${most}${smtputf8 ? '' : ', no SMTPUTF8'}`)]
    if (!tls && !isLoopback(host)) {
      const todo = 'set nextHop > tls > mode: verify, once it offers TLS: addresses and subjects can be read on the way'
      found.push(look('next hop', `${place} gets mail in clear`, todo))
    }
    if (asksTls && capabilities.requireTls !== true) {
      const todo =
        'use a next hop that takes REQUIRETLS, with nextHop > tls > mode: verify, or nextHop: mx; or take the rule out'
      found.push(
        look('next hop', `rules of ${org.id} ask recipient.tls, which is always none by way of ${place}`, todo),
      )
    }
    if (size !== null && size > 0 && size < 10_000_000 && size < carryLimit) {
      found.push(
        look(
          'next hop',
          `${place} takes small mail only`,
          'larger mail goes by link: ask the provider for a higher limit',
        ),
      )
    }
    return found
  } catch (error) {
    const reply =
      error instanceof GreetingFault && error.reply !== null ? `: ${error.reply.code} ${error.reply.text}` : ''
    return [broken('next hop', `${place}: ${reasonOf(error)}${reply}`, todoFor(reasonOf(error)))]
  }
}

function todoFor(reason: string): string {
  if (/self[- ]signed|unable to (?:verify|get)|altname|does not match|issuer|certificate/i.test(reason))
    return 'name the authority of its certificate (nextHop > tls > ca), its name (> name), or a pin; or have its certificate renewed'
  if (/offers no TLS|refused STARTTLS/.test(reason)) return 'have TLS switched on there; only then does mail leave'
  if (/sign-in|password|AUTH/.test(reason)) return 'correct nextHop > user and password'
  if (/ENOTFOUND|EAI_AGAIN/.test(reason)) return 'correct nextHop > host, or the name servers of this machine'
  return 'correct nextHop > host and port, and look at firewalls: port 25 is often closed; until then every mail gets 451'
}

/** Whether mail could come back to where it left. */
export async function loopFindings(config: Config, org: OrganizationConfig): Promise<Finding[]> {
  if (org.nextHop.kind === 'mx') return [secretFinding(config, org)]
  const { host, port } = org.nextHop
  const own = config.listeners.filter(({ options }) => options.port === port)
  const addresses = await addressesOf(host)
  const ours = addresses.filter((address) => isOurs(address))
  const found: Finding[] = []
  const meets = own.find(({ options }) => ours.some((address) => reaches(options.address, address)))
  if (meets !== undefined || host.toLowerCase() === config.name.toLowerCase()) {
    const what = `${org.id}: the next hop ${host}:${port} is this gateway itself`
    found.push(broken('loops', what, 'name the provider as nextHop: every mail would go in a circle until 554 5.4.6'))
  } else if (addresses.length > 0)
    found.push(ok('loops', `${org.id}: the next hop ${host}:${port} is not this gateway`))
  found.push(secretFinding(config, org))
  return found
}

function secretFinding(config: Config, { id, loopSecret, dkim }: OrganizationConfig): Finding {
  if (loopSecret !== null) return ok('loops', `${id}: the loop secret is set`)
  const made = existsSync(join(config.data, 'secrets', `${id}.loop`))
  if (made && !dkim.nextHopSigns) return ok('loops', `${id}: this gateway made its own loop secret`)
  const todo = `write one into a file (openssl rand -hex 24), name it as loopSecret, on every gateway, and in the provider's rule`
  return look('loops', `${id}: no loop secret is configured${made ? '; this gateway made one of its own' : ''}`, todo)
}

/** As a delivery resolves it; none where it cannot be resolved, which the connection has told. */
async function addressesOf(host: string): Promise<readonly string[]> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address)
  } catch {
    return []
  }
}

function isOurs(address: string): boolean {
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return isLoopback(address) || own.some((one) => one.address === address)
}

function reaches(bound: string, address: string): boolean {
  return bound === address || bound === '0.0.0.0' || bound === '::' || (bound === 'localhost' && isLoopback(address))
}
