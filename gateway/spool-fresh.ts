import type { OutgoingMail } from './courier.ts'
import type { Live } from './spool-index.ts'

/** Octets of a mail that stay in memory for the attempt right after it came in, and of all of them. */
const FRESH = { one: 256 * 1024, all: 16 * 1024 * 1024 }

/** What came in just now, in memory, so that its first attempt need not read it back from the disk. */
export type FreshMails = {
  /** The octets to be written; `kept` has them, too, once they went by. Null: there is no room. */
  keep(mail: OutgoingMail): {
    readonly octets: AsyncIterable<Uint8Array>
    readonly kept: readonly Uint8Array[] | null
  }
  /** Its room is taken from now on. */
  count(one: Live): void
  forget(one: Live): void
}

export function createFreshMails(): FreshMails {
  let taken = 0
  return {
    keep(mail) {
      if (mail.size > FRESH.one || taken + mail.size > FRESH.all) return { octets: mail.open(), kept: null }
      const kept: Uint8Array[] = []
      return { octets: keeping(mail.open(), kept), kept }
    },
    count(one) {
      if (one.fresh !== null) taken += one.entry.mail.size
    },
    forget(one) {
      if (one.fresh !== null) taken -= one.entry.mail.size
      one.fresh = null
    },
  }
}

/** The same octets, which are then in `kept` as well. */
async function* keeping(mail: AsyncIterable<Uint8Array>, kept: Uint8Array[]): AsyncGenerator<Uint8Array> {
  for await (const chunk of mail) {
    kept.push(chunk)
    yield chunk
  }
}
