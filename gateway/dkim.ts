import { Readable } from 'node:stream'
import type { Courier, OutgoingMail } from './courier.ts'
import { keysFor } from './dkim-choice.ts'
import type { DkimKey } from './dkim-key.ts'
import { signedFields } from './dkim-look.ts'
import type { Egress } from './egress.ts'
import { findHeaderEnd, parseHeader } from './header.ts'
import type { Log } from './log.ts'

export type DkimParts = {
  readonly org: string
  /** At least one. */
  readonly keys: readonly DkimKey[]
  /** The organization's own domains, null while its policy is not known. */
  readonly domains: () => readonly string[] | null
  readonly egress: Pick<Egress, 'signed'>
  readonly log: Log
}

/** Puts our signatures before a mail. The mail as it was where none of the keys is for it, or where it cannot be signed. */
type Sign = (mail: OutgoingMail) => Promise<OutgoingMail>

/** Octets after the header that are kept from the first reading, so that a small mail is made once and not twice. */
const KEPT = 512 * 1024
/** A longer line than that some hop breaks, and with it the signature; hashing it would take memory without bound. */
const LINE_LIMIT = 64 * 1024

/** The courier with DKIM (RFC 6376, 8463) in front of it: what it is given leaves signed. Nothing is added to a mail after that. */
export async function signingCourier(courier: Courier, parts: DkimParts): Promise<Courier> {
  const sign = await createSign(parts)
  return {
    ...courier,
    deliver: async (delivery) => courier.deliver({ ...delivery, mail: await sign(delivery.mail) }),
  }
}

async function createSign({ org, keys, domains, egress, log }: DkimParts): Promise<Sign> {
  // Only who signs pays for loading it.
  const { dkimSign } = await import('mailauth/lib/dkim/sign.js')

  return async (mail) => {
    const source = mail.open()[Symbol.asyncIterator]()
    try {
      const start = await readStart(source)
      const header = parseHeader(start)
      const chosen = header === null ? [] : keysFor(header, keys, domains() ?? [])
      if (chosen.length === 0) return mail
      const kept: Uint8Array[] = []
      const input = Readable.from(feed(start, source, kept), { objectMode: false })
      const signatureData = chosen.map(optionsOf)
      const [first] = signatureData
      if (first === undefined) return mail
      const { signatures, errors } = await dkimSign(input, { ...first, signatureData, strict: true })
      if (errors.length > 0) throw new Unsignable(errors[0]?.err?.message ?? 'it cannot be signed')
      const whole = kept.reduce((size, chunk) => size + chunk.length, 0) === mail.size
      return egress.signed(whole ? { ...mail, open: () => inOrder(kept) } : mail, signatures, chosen)
    } catch (error) {
      if (!(error instanceof Unsignable)) throw error
      log.warn('mail leaves without a DKIM signature', { org, reason: error.message })
      return mail
    } finally {
      await source.return?.()
    }
  }
}

/** A mail that leaves as it is. */
class Unsignable extends Error {
  override readonly name = 'Unsignable'
}

function optionsOf({ domain, selector, pem }: DkimKey) {
  return {
    signingDomain: domain,
    selector,
    privateKey: pem,
    canonicalization: 'relaxed/relaxed',
    headerList: [...signedFields],
  }
}

/** All up to the end of the header, and what came with it. The composer gives a header in one piece. */
async function readStart(source: AsyncIterator<Uint8Array>): Promise<Buffer> {
  let held: Buffer = Buffer.alloc(0)
  for (let next = await source.next(); next.done !== true; next = await source.next()) {
    const from = Math.max(0, held.length - 3)
    held = Buffer.concat([held, next.value])
    if (findHeaderEnd(held, from) !== -1) break
  }
  return held
}

/** The whole mail again; as much of it as may stay in memory is put into `kept`. */
async function* feed(
  start: Uint8Array,
  source: AsyncIterator<Uint8Array>,
  kept: Uint8Array[],
): AsyncGenerator<Uint8Array> {
  let open = 0
  let room = start.length + KEPT
  const pass = (chunk: Uint8Array): Uint8Array => {
    const end = chunk.lastIndexOf(0x0a)
    open = end === -1 ? open + chunk.length : chunk.length - end - 1
    if (open > LINE_LIMIT) throw new Unsignable('one of its lines is too long')
    room -= chunk.length
    if (room >= 0) kept.push(chunk)
    else kept.length = 0
    return chunk
  }
  yield pass(start)
  for (let next = await source.next(); next.done !== true; next = await source.next()) yield pass(next.value)
}

async function* inOrder(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}
