/** Those who wait for their turn, by organization: so many at a time, in the order in which they came. */
export type SpoolLine<Item> = {
  /** Once is enough: who waits or has its turn is not put in again. */
  push(org: string, item: Item): void
  remove(org: string, item: Item): void
  /** Lets in whoever may go: after a push, and from time to time, since `allows` may have changed its mind. */
  pump(): void
  /** Nobody is let in any more; resolves when the last has ended. */
  close(): Promise<void>
}

export type SpoolLineOptions<Item> = {
  readonly lanes: (org: string) => number
  /** Asked before each turn. */
  readonly allows: (org: string) => boolean
  /** One turn; must not reject. */
  readonly run: (item: Item) => Promise<void>
}

export function createSpoolLine<Item>({ lanes, allows, run }: SpoolLineOptions<Item>): SpoolLine<Item> {
  const ready = new Map<string, Set<Item>>()
  const active = new Map<string, number>()
  let closed: (() => void) | null = null
  const busy = () => [...active.values()].some((count) => count > 0)

  function pumpOrg(org: string): void {
    const items = ready.get(org)
    for (const item of items ?? []) {
      const count = active.get(org) ?? 0
      if (closed !== null || count >= lanes(org) || !allows(org)) return
      items?.delete(item)
      active.set(org, count + 1)
      void run(item).finally(() => {
        active.set(org, (active.get(org) ?? 1) - 1)
        if (closed === null) pumpOrg(org)
        else if (!busy()) closed()
      })
    }
  }

  return {
    push(org, item) {
      const items = ready.get(org) ?? new Set()
      ready.set(org, items.add(item))
      pumpOrg(org)
    },
    remove: (org, item) => void ready.get(org)?.delete(item),
    pump() {
      for (const org of ready.keys()) pumpOrg(org)
    },
    close() {
      return new Promise((resolve) => {
        closed = resolve
        if (!busy()) resolve()
      })
    },
  }
}
