import { domainToASCII } from 'node:url'
import type { Answer, MxData, RecordType, TlsaData } from 'dns-packet'
import { askServer, DnsFault } from './dns-exchange.ts'
import type { DnsServer } from './dns-server.ts'

/** What DNS says of one name and type. */
export type Records<Value> = {
  /** Empty where there are none. */
  readonly values: readonly Value[]
  /** False: there is no such name at all. */
  readonly exists: boolean
  /** The answer, with every alias in it, was validated by DNSSEC; never true where no validating resolver is configured. */
  readonly secure: boolean
  /** The name at the end of the aliases (CNAME), lower case. */
  readonly canonical: string
}

export type Exchange = { readonly preference: number; readonly exchange: string }
export type Tlsa = Readonly<Pick<TlsaData, 'usage' | 'selector' | 'matchingType'>> & { readonly data: Uint8Array }

/** All that delivery asks of DNS. Each rejects with {@link DnsFault} where DNS could not be asked, or validation failed. */
export type Resolver = {
  mx(domain: string): Promise<Records<Exchange>>
  /** IPv4 before IPv6. */
  addresses(host: string): Promise<Records<string>>
  /** Each with its strings joined. */
  txt(name: string): Promise<Records<string>>
  tlsa(name: string): Promise<Records<Tlsa>>
}

export type ResolverOptions = {
  /** Recursive servers, at least one; asked in turn. */
  readonly servers: readonly DnsServer[]
  /** They validate, and the way to them is trusted: the AD bit of their answers counts. */
  readonly validating: boolean
  /** For one question to one server, milliseconds; 2,500 if absent. */
  readonly timeoutMs?: number
}

/** A label may hold any octet (RFC 2181 11); a name that stands in commands, notices and logs may not. */
const HOST = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?$/
const ROUNDS = 2
const ALIASES = 8

export function createResolver({ servers, validating, timeoutMs = 2_500 }: ResolverOptions): Resolver {
  async function look<Value>(
    name: string,
    type: RecordType,
    pick: (answer: Answer) => Value | null,
  ): Promise<Records<Value>> {
    const ascii = nameOf(name)
    let last = new DnsFault('no name server is configured')
    for (let round = 0; round < ROUNDS; round++) {
      for (const server of servers) {
        try {
          const packet = await askServer(server, { name: ascii, type }, timeoutMs)
          const { rcode } = packet as { readonly rcode?: string }
          if (rcode === 'NOERROR' || rcode === 'NXDOMAIN') {
            const { values, canonical } = follow(ascii, packet.answers ?? [], type, pick)
            const secure = validating && packet.flag_ad
            return { values, canonical, secure, exists: rcode === 'NOERROR' }
          }
          last = new DnsFault(`${server.address} answered ${String(rcode)} for ${type} of ${ascii}`)
        } catch (error) {
          if (!(error instanceof DnsFault)) throw error
          last = error
        }
      }
    }
    throw last
  }

  return {
    mx: (domain) => look(domain, 'MX', (answer) => (answer.type === 'MX' ? exchangeOf(answer.data) : null)),
    async addresses(host) {
      const four = look(host, 'A', (answer) => (answer.type === 'A' ? answer.data : null))
      const six = look(host, 'AAAA', (answer) => (answer.type === 'AAAA' ? answer.data : null))
      const [a, aaaa] = await Promise.allSettled([four, six])
      const found = [a, aaaa].flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
      const failed = [a, aaaa].find((one) => one.status === 'rejected')
      // Where answers are validated, one that fails may be an attack; elsewhere it is one of the many servers that know no AAAA. Without
      // any address it says nothing.
      if (failed !== undefined && (validating || !found.some(({ values }) => values.length > 0))) throw failed.reason
      return {
        values: found.flatMap(({ values }) => values),
        exists: found.some(({ exists }) => exists),
        secure: found.every(({ secure }) => secure),
        canonical: found[0]?.canonical ?? host,
      }
    },
    txt: (name) => look(name, 'TXT', (answer) => (answer.type === 'TXT' ? textOf(answer.data) : null)),
    tlsa: (name) => look(name, 'TLSA', (answer) => (answer.type === 'TLSA' ? tlsaOf(answer.data) : null)),
  }
}

/** The records at the end of the aliases that begin at `name`; what stands elsewhere in the answer counts for nothing. */
function follow<Value>(
  name: string,
  answers: readonly Answer[],
  type: RecordType,
  pick: (answer: Answer) => Value | null,
): { readonly values: Value[]; readonly canonical: string } {
  let canonical = name
  for (let aliases = 0; ; aliases++) {
    const here = answers.filter((answer) => lower(answer.name) === canonical)
    const values = here.filter((answer) => answer.type === type).map(pick)
    const alias = here.find((answer) => answer.type === 'CNAME')
    if (values.length > 0 || alias === undefined || alias.type !== 'CNAME') {
      return { values: values.filter((value) => value !== null), canonical }
    }
    if (aliases === ALIASES) throw new DnsFault(`${name} has too many aliases`)
    canonical = lower(alias.data)
    if (!HOST.test(canonical)) throw new DnsFault(`${name} is an alias of what is no host name`)
  }
}

/** A-labels without the dot at the end. Throws where it is no name that DNS can be asked for. */
function nameOf(text: string): string {
  const ascii = lower(/^[\x21-\x7e]*$/.test(text) ? text : domainToASCII(text))
  const labels = ascii.split('.')
  if (ascii.length === 0 || ascii.length > 253 || labels.some((label) => label.length === 0 || label.length > 63)) {
    throw new DnsFault(`${JSON.stringify(text.slice(0, 80))} is no name that DNS knows`)
  }
  return ascii
}

function exchangeOf({ preference = 0, exchange }: MxData): Exchange {
  const name = lower(exchange)
  // Still an exchange, so that the domain itself is not taken for its own: but one that is nowhere (RFC 6761 6.4).
  return { preference, exchange: name === '' || HOST.test(name) ? name : 'unusable.invalid' }
}

function textOf(data: string | Uint8Array | readonly (string | Uint8Array)[]): string {
  const strings = Array.isArray(data) ? data : [data]
  return strings.map((one) => (typeof one === 'string' ? one : Buffer.from(one).toString('latin1'))).join('')
}

function tlsaOf({ usage, selector, matchingType, certificate }: TlsaData): Tlsa {
  return { usage, selector, matchingType, data: certificate }
}

function lower(name: string): string {
  return name.replace(/\.$/, '').toLowerCase()
}
