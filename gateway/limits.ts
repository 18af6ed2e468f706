import { isIPv6 } from 'node:net'
import type { GatewayErrorCode } from './error.ts'
import { createTokenBuckets, type TokenBuckets } from './token-buckets.ts'

/** What may be used in a minute, at most so much of it at once; what is absent has no limit. */
export type Rates = {
  readonly connections?: number
  readonly messages?: number
  readonly recipients?: number
  readonly octets?: number
  readonly errors?: number
}

export type LimitRules = {
  /** Of all clients of one listener together. */
  readonly listener: Rates
  /** Of all clients of one network ({@link networkOf}); `atOnce`: connections at the same time. */
  readonly network: Rates & { readonly atOnce?: number }
  /** Of one MAIL FROM, or of one account that signed in. */
  readonly sender: Rates
}

export type LimitedClient = { readonly listener: string; readonly address: string }

/** What clients may use, counted by listener, network and sender. `sender` is null for `<>`, which nobody owns. */
export type Limits = {
  /** A client has come. The returned function is to be called when it has gone; null: it must not come in now (421 4.7.0). */
  admit(client: LimitedClient): (() => void) | null
  /** At MAIL, with the size if the client said it: null, or why not now. A message that may come is counted. */
  message(client: LimitedClient, sender: string | null, octets: number | null): GatewayErrorCode | null
  /** At RCPT. */
  recipient(client: LimitedClient, sender: string | null): GatewayErrorCode | null
  /** What came in of a message, octets. */
  content(client: LimitedClient, sender: string | null, octets: number): void
  /** A command was refused for good. False: there were too many (421 4.7.0). */
  error(client: LimitedClient): boolean
  /** Other rules from now on. Buckets whose rate stays keep what they hold. */
  configure(rules: LimitRules): void
}

type Kind = keyof Rates
type ScopeName = keyof LimitRules
type Rule = { readonly scope: ScopeName; readonly rate: number; readonly buckets: TokenBuckets }

/** Networks, and senders, that are remembered: some 100 octets each. */
const CAPACITY = 20_000
const kinds = ['connections', 'messages', 'recipients', 'octets', 'errors'] as const
const scopes = ['listener', 'network', 'sender'] as const

export function createLimits(first: LimitRules, clock: () => number = () => performance.now()): Limits {
  let rules = first
  let byKind = build(new Map())
  const present = new Map<string, number>()

  function build(old: ReadonlyMap<Kind, readonly Rule[]>): Map<Kind, readonly Rule[]> {
    const ruleOf = (kind: Kind, scope: ScopeName): Rule[] => {
      const rate = rules[scope][kind]
      if (rate === undefined) return []
      const kept = old.get(kind)?.find((rule) => rule.scope === scope && rule.rate === rate)
      return [kept ?? { scope, rate, buckets: createTokenBuckets({ perMinute: rate, capacity: CAPACITY, clock }) }]
    }
    return new Map(kinds.map((kind) => [kind, scopes.flatMap((scope) => ruleOf(kind, scope))]))
  }

  /** Of whom that is taken; null where nobody is counted. */
  const keyOf = (scope: ScopeName, client: LimitedClient, sender: string | null) => {
    if (scope === 'sender') return sender
    return scope === 'listener' ? client.listener : networkOf(client.address)
  }
  const has = (kind: Kind, client: LimitedClient, sender: string | null, amount: number) =>
    (byKind.get(kind) ?? []).every(({ scope, buckets }) => {
      const key = keyOf(scope, client, sender)
      return key === null || buckets.has(key, amount)
    })
  const take = (kind: Kind, client: LimitedClient, sender: string | null, amount: number) => {
    for (const { scope, buckets } of byKind.get(kind) ?? []) {
      const key = keyOf(scope, client, sender)
      if (key !== null) buckets.take(key, amount)
    }
  }

  return {
    admit(client) {
      const network = networkOf(client.address)
      const count = present.get(network) ?? 0
      if (count >= (rules.network.atOnce ?? Number.POSITIVE_INFINITY)) return null
      if (!has('errors', client, null, 1) || !has('connections', client, null, 1)) return null
      take('connections', client, null, 1)
      present.set(network, count + 1)
      return onlyOnce(() => {
        const left = (present.get(network) ?? 1) - 1
        if (left > 0) present.set(network, left)
        else present.delete(network)
      })
    },
    message(client, sender, octets) {
      if (!has('messages', client, sender, 1)) return 'too-many-messages'
      if (!has('octets', client, sender, octets ?? 1)) return 'too-many-octets'
      take('messages', client, sender, 1)
      return null
    },
    recipient(client, sender) {
      if (!has('recipients', client, sender, 1)) return 'too-many-recipients'
      take('recipients', client, sender, 1)
      return null
    },
    content: (client, sender, octets) => take('octets', client, sender, octets),
    error(client) {
      take('errors', client, null, 1)
      return has('errors', client, null, 1)
    },
    configure(changed) {
      rules = changed
      byKind = build(byKind)
    },
  }
}

/** Those who share an address's network: its /24, or its /64 with IPv6. */
export function networkOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=[\d.]+$)/i, '')
  if (!isIPv6(plain)) return `${plain.split('.').slice(0, 3).join('.')}.0/24`
  const [head = '', tail] = plain.split('%')[0]?.split('::') ?? []
  const groups = head === '' ? [] : head.split(':')
  const behind = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - behind.length)
  const all = [...groups, ...Array<string>(zeros).fill('0'), ...behind]
  const first = all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16))
  return `${first.join(':')}::/64`
}

function onlyOnce(act: () => void): () => void {
  let done = false
  return () => {
    if (!done) act()
    done = true
  }
}
