import { type Listener, type ListenerOptions, openListener } from './listener.ts'
import type { Log } from './log.ts'
import type { SessionParts } from './session.ts'

/** One listener as it is to be. */
export type Wanted = { readonly options: ListenerOptions; readonly parts: SessionParts }

/** The listeners of the process, which follow the configuration. */
export type Listeners = {
  /**
   * Opens, changes and closes until what listens is what is wanted. A listener whose address and port stay keeps its socket and its clients. Rejects,
   * with all as before, if a port cannot be had.
   */
  follow(wanted: readonly Wanted[]): Promise<void>
  addresses(): readonly { readonly name: string; readonly address: string; readonly port: number }[]
  /** Resolves when all are closed, those that were given up before as well. */
  close(): Promise<void>
}

type Open = { readonly name: string; readonly listener: Listener }

export function createListeners(log: Log): Listeners {
  let open = new Map<string, Open>()
  const closing = new Set<Promise<void>>()

  function giveUp({ name, listener }: Open): void {
    log.info('listener closes', { listener: name })
    const closed = listener.close().finally(() => closing.delete(closed))
    closing.add(closed)
  }

  return {
    async follow(wanted) {
      const fresh = new Map<string, Open>()
      try {
        for (const { options, parts } of wanted) {
          if (open.has(keyOf(options))) continue
          fresh.set(keyOf(options), { name: options.name, listener: await openListener(options, parts) })
        }
      } catch (error) {
        for (const one of fresh.values()) giveUp(one)
        throw error
      }
      // From here on nothing can fail.
      const next = new Map<string, Open>()
      for (const { options, parts } of wanted) {
        const key = keyOf(options)
        const kept = open.get(key)
        kept?.listener.change(options, parts)
        const now = kept === undefined ? fresh.get(key) : { name: options.name, listener: kept.listener }
        if (now !== undefined) next.set(key, now)
      }
      for (const [key, old] of open) if (!next.has(key)) giveUp(old)
      open = next
    },
    addresses: () => [...open.values()].map(({ name, listener: { address, port } }) => ({ name, address, port })),
    async close() {
      for (const one of open.values()) giveUp(one)
      open = new Map()
      await Promise.all(closing)
    },
  }
}

/** Which socket it is. Any free port (0) is another one for each name. */
function keyOf({ name, address, port }: ListenerOptions): string {
  return port === 0 ? `${address} ${name}` : `${address} :${port}`
}
