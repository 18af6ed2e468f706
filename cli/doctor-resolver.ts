import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import { UsageError } from './io.ts'

/** What the doctor asks of DNS. Each is empty where there is nothing of the kind; each rejects where DNS could not be asked. */
export type Names = {
  /** Exchanges by preference, the best first; '.' for a domain that takes no mail (RFC 7505). */
  mx(domain: string): Promise<readonly string[]>
  /** Each record with its strings joined. */
  txt(name: string): Promise<readonly string[]>
}

/** DNS said nothing, or nonsense: not the same as saying that there is no such record. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

const NOTHING = new Set(['ENOTFOUND', 'ENODATA'])
const TIMEOUT_MS = 3_000

/** Asks the system's servers, or the one at `address[:port]`. Throws a {@link UsageError} where that is none. */
export function createNames(server: string | undefined): Names {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 2 })
  if (server !== undefined) {
    const host = server.replace(/:\d{1,5}$/, '').replace(/^\[(.*)\]$/, '$1')
    if (isIP(server) === 0 && isIP(host) === 0)
      throw new UsageError(`doctor: --resolver takes an address such as 192.0.2.53 or 127.0.0.1:5353, not ${server}`)
    resolver.setServers([server])
  }
  const ask = async <T>(question: Promise<T[]>): Promise<T[]> => {
    try {
      return await question
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'no reason'
      if (NOTHING.has(code)) return []
      throw new NoAnswer(`${resolver.getServers().join(', ') || 'no server'} (${code})`)
    }
  }
  return {
    async mx(domain) {
      const found = await ask(resolver.resolveMx(domain))
      return found.sort((a, b) => a.priority - b.priority).map(({ exchange }) => exchange || '.')
    },
    txt: async (name) => (await ask(resolver.resolveTxt(name))).map((strings) => strings.join('')),
  }
}
