import { loadTlsFiles } from '../protocol/tls-files.ts'
import { blockListOf, isLoopback } from './address-range.ts'
import type { ListenerConfig } from './config.ts'
import { accountsOf } from './config-accounts.ts'
import { ruleOf } from './config-clients.ts'
import type { Reading } from './config-reading.ts'
import type { ConfigFile } from './config-schema.ts'
import type { ListenerOptions } from './listener.ts'

type ListenerFile = ConfigFile['listeners'][number]

/** One listener, with who may use it; faults are noted in `reading`. */
export function listenerOf(reading: Reading, listener: ListenerFile, index: number): ListenerConfig {
  const { faults, file } = reading
  const name = listener.name ?? `smtp-${index + 1}`
  const place = `listeners > ${name}`
  if (listener.signInWithoutTls && !isLoopback(listener.host)) {
    faults.push(`${place} > signInWithoutTls: passwords go without TLS on a loopback address only`)
  }
  const { limits } = file
  const anyone = (listener.clients ?? []).some((rule) => rule.from === 'anyone')
  if (listener.proxies !== undefined && anyone) {
    faults.push(
      `${place} > proxies: with balancers before it, from anyone would let in whoever reaches them; name ranges`,
    )
  }
  const rules = (listener.clients ?? []).flatMap((rule) => ruleOf(reading, listener, rule, place))
  return {
    options: {
      name,
      address: listener.host,
      port: listener.port,
      sharedPort: listener.sharedPort ?? false,
      tls: listenerTls(reading, listener),
      clearSignIn: listener.signInWithoutTls ?? false,
      proxies: proxiesOf(reading, listener, place),
      recipientLimit: limits?.recipients ?? 500,
      errorLimit: limits?.errors ?? 50,
      connectionLimit: limits?.connections ?? 500,
      bareNewlines: listener.bareNewlines ?? 'refuse',
      idleTimeoutMs: 1000 * (limits?.idleSeconds ?? 300),
      drainMs: 1000 * (limits?.drainSeconds ?? 60),
    },
    delivery: listener.delivery ?? 'inline',
    rules,
    accounts: accountsOf(reading, listener, place),
  }
}

function proxiesOf({ faults }: Reading, { proxies }: ListenerFile, place: string): ListenerOptions['proxies'] {
  if (proxies === undefined) return null
  const ranges = blockListOf(proxies)
  if ('list' in ranges) return ranges.list
  faults.push(`${place} > proxies: ${ranges.fault}`)
  return null
}

function listenerTls({ at, faults, now }: Reading, { tls }: ListenerFile): ListenerOptions['tls'] {
  if (tls === undefined) return null
  const load = loadTlsFiles({ cert: at(tls.cert), key: at(tls.key) }, now)
  if (load.kind === 'loaded') return { mode: tls.mode, certificate: load.files.cert, key: load.files.key }
  faults.push(...load.faults)
  return null
}
