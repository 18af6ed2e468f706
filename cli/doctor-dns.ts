import type { OrganizationConfig } from '../gateway/config.ts'
import { type DkimKey, dkimRecordName, isRecordOf } from '../gateway/dkim-key.ts'
import { broken, type Finding, look, ok } from './doctor-finding.ts'
import { type Names, NoAnswer } from './doctor-resolver.ts'

/** The records of one organization's domains, and whether what it sends is signed. */
export async function dnsFindings(
  names: Names,
  org: OrganizationConfig,
  domains: readonly string[],
): Promise<readonly Finding[]> {
  const advice = dkimAdvice(org, domains)
  try {
    const found = await Promise.all(domains.map((domain) => domainFindings(names, org, domain)))
    return [...found.flat(), ...advice]
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error
    const todo =
      'ask again where DNS answers, or name a server with --resolver; until then MX, SPF, DKIM and DMARC are not known'
    return [look('dns', `${org.id}: DNS was not answered by ${error.message}`, todo), ...advice]
  }
}

async function domainFindings(names: Names, org: OrganizationConfig, domain: string): Promise<Finding[]> {
  const [mx, spf, dmarc, dkim] = await Promise.all([
    mxFinding(names, domain),
    spfFinding(names, org, domain),
    dmarcFinding(names, domain),
    dkimFindings(names, org, domain),
  ])
  return [mx, spf, dmarc, ...dkim]
}

async function mxFinding(names: Names, domain: string): Promise<Finding> {
  const exchanges = await names.mx(domain)
  if (exchanges.length === 0) {
    return look(
      'dns',
      `${domain} has no MX record`,
      'replies and bounces to it get lost: publish MX, or a null MX if meant so',
    )
  }
  if (exchanges[0] === '.') {
    return look(
      'dns',
      `${domain} says that it takes no mail (null MX)`,
      'replies and bounces to it get lost, if people send from it',
    )
  }
  return ok('dns', `${domain}: MX ${exchanges.slice(0, 3).join(', ')}`)
}

/** Whose servers hand the mail to the world, by what its SPF record must then include. */
function includeOf({ nextHop, microsoft }: OrganizationConfig): string | null {
  if (microsoft) return 'spf.protection.outlook.com'
  const host = nextHop.kind === 'mx' ? '' : nextHop.host
  return /\.(?:gmail|google)\.com$/i.test(host) ? '_spf.google.com' : null
}

async function spfFinding(names: Names, org: OrganizationConfig, domain: string): Promise<Finding> {
  const [record, second] = (await names.txt(domain)).filter((text) => /^v=spf1(?:\s|$)/i.test(text))
  const include = includeOf(org)
  const whose = org.nextHop.kind === 'mx' ? 'this gateway' : 'your next hop'
  const example = include === null ? `v=spf1 ip4:<addresses of ${whose}> -all` : `v=spf1 include:${include} -all`
  if (record === undefined) return look('dns', `${domain} has no SPF record`, `publish TXT "${example}"`)
  if (second !== undefined) {
    return broken('dns', `${domain} has more than one SPF record, so that none counts`, 'leave one of them')
  }
  if (/\s[+]?all(?:\s|$)/i.test(record)) {
    return broken('dns', `${domain}: SPF lets the whole world send (+all)`, 'end it with -all or ~all')
  }
  const goesOn = /\s(?:redirect=|include:)\S/i.test(record)
  if (include !== null && !record.toLowerCase().includes(include) && !goesOn) {
    return look(
      'dns',
      `${domain}: SPF does not include ${include}, through which its mail leaves`,
      `make it "${example}"`,
    )
  }
  return ok('dns', `${domain}: SPF ${record.slice(0, 120)}`)
}

/** RFC 7489 6.6.3: the domain's own record, else that of one above it. */
async function dmarcFinding(names: Names, domain: string): Promise<Finding> {
  const labels = domain.split('.')
  for (let from = 0; from < labels.length - 1; from++) {
    const place = labels.slice(from).join('.')
    const [record, second] = (await names.txt(`_dmarc.${place}`)).filter((text) => /^v=DMARC1\s*;/i.test(text))
    if (record === undefined) continue
    if (second !== undefined) {
      return broken('dns', `${place} has more than one DMARC record, so that none counts`, 'leave one of them')
    }
    const policy = /;\s*p\s*=\s*(none|quarantine|reject)/i.exec(record)?.[1]
    if (policy === undefined)
      return broken('dns', `${place}: DMARC says no policy (p=)`, 'add p=none, quarantine or reject')
    return ok('dns', `${domain}: DMARC p=${policy.toLowerCase()}${place === domain ? '' : ` (from ${place})`}`)
  }
  const todo = `publish TXT "v=DMARC1; p=none; rua=mailto:postmaster@${domain}" at _dmarc.${domain}, and tighten it later`
  return look('dns', `${domain} has no DMARC record`, todo)
}

async function dkimFindings(names: Names, org: OrganizationConfig, domain: string): Promise<Finding[]> {
  const keys = org.dkim.keys.filter((key) => key.domain === domain)
  const found = await Promise.all(keys.map((key) => keyFinding(names, key, org.dkim.signs)))
  return org.dkim.nextHopSigns ? [...found, await providerFinding(names, org, domain)] : found
}

async function keyFinding(names: Names, key: DkimKey, signs: boolean): Promise<Finding> {
  const name = dkimRecordName(key)
  const records = (await names.txt(name)).filter((text) => /(?:^|;)\s*p\s*=/.test(text))
  const bad = signs ? broken : look
  if (records.length === 0) {
    return bad(
      'dkim',
      `${name} is not in DNS: no signature with this key can be checked`,
      'publish the record that sealpost dkim printed',
    )
  }
  if (records.some((record) => isRecordOf(record, key.pem))) return ok('dkim', `${name} is in DNS and fits the key`)
  return bad(
    'dkim',
    `${name} in DNS belongs to another key: every signature fails`,
    'publish the record of this key, or name the key of that record',
  )
}

/** The selectors that Microsoft and Google give their customers. */
async function providerFinding(names: Names, org: OrganizationConfig, domain: string): Promise<Finding> {
  const selectors = org.microsoft ? ['selector1', 'selector2'] : ['google']
  const found = await Promise.all(selectors.map((selector) => names.txt(dkimRecordName({ domain, selector }))))
  const at = found.findIndex((records) => records.some((text) => /(?:^|;)\s*p\s*=\s*\S/.test(text)))
  if (at !== -1) return ok('dkim', `${domain}: the next hop signs, with ${selectors[at]}`)
  const todo = `switch DKIM on at the provider for ${domain}, and publish the records that it names; if it uses another selector, all is well`
  return look('dkim', `${domain}: the next hop should sign, but ${selectors.join(' and ')} are not in DNS`, todo)
}

/** Pure: whether it is right to sign here. */
function dkimAdvice({ id, dkim, nextHop }: OrganizationConfig, domains: readonly string[]): Finding[] {
  const { keys, nextHopSigns, signs } = dkim
  const host = nextHop.kind === 'mx' ? 'the next hop' : nextHop.host
  if (nextHopSigns && keys.length > 0) {
    const todo = 'leave it so, or take the keys out; where it does not sign after all, set nextHop > signs: false'
    return [look('dkim', `${id}: this gateway has keys but does not sign, because ${host} does`, todo)]
  }
  if (nextHopSigns) return [ok('dkim', `${id}: this gateway does not sign, because ${host} does`)]
  if (!signs) {
    const make = `make a key: sealpost dkim ${domains[0] ?? id} --selector s1 --to dkim.key`
    const todo = nextHop.kind === 'mx' ? make : `${make}; or set nextHop > signs: true if ${host} signs`
    return [look('dkim', `${id}: its mail leaves here without a DKIM signature`, todo)]
  }
  const covered = (domain: string) => keys.some((key) => domain === key.domain || domain.endsWith(`.${key.domain}`))
  const stray = keys.filter((key) => !domains.some((one) => one === key.domain || one.endsWith(`.${key.domain}`)))
  return [
    ok('dkim', `${id}: this gateway signs for ${[...new Set(keys.map((key) => key.domain))].join(', ')}`),
    ...domains
      .filter((domain) => !covered(domain))
      .map((domain) =>
        look('dkim', `${domain} has no key: its mail leaves without a DKIM signature`, 'make one: sealpost dkim'),
      ),
    ...stray.map((key) =>
      look(
        'dkim',
        `the key for ${key.domain} is never used: the policy of ${id} does not name it`,
        'add the domain, or remove the key',
      ),
    ),
  ]
}
