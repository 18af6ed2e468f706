import type { Address } from '../protocol/identifiers.ts'
import { SourceFault } from './api-call.ts'
import type { OutgoingMail } from './courier.ts'
import type { HeaderField } from './header.ts'

/** A mail whose header says exactly who gets it, on its way out by a provider's API. */
export type Letter = {
  readonly mailbox: Address
  readonly recipients: readonly string[]
  /** Of the mail, without the Bcc field that was added. */
  readonly fields: readonly HeaderField[]
  /** Its header names every recipient. */
  readonly mail: OutgoingMail
  /** An earlier attempt may have been delivered: look before sending. */
  readonly again: boolean
  /** To be said right before the request that sends it. */
  readonly onDot: () => void
}

/** The octets of a mail, whose own failure is told from all others: {@link SourceFault}. */
export async function* octetsOf(mail: OutgoingMail): AsyncGenerator<Uint8Array> {
  try {
    yield* mail.open()
  } catch (error) {
    throw new SourceFault(error)
  }
}

/** The same at once, for mails that are small enough for it. */
export async function wholeOf(mail: OutgoingMail): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of octetsOf(mail)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The first field of that lower-case name. */
export function fieldText(fields: readonly HeaderField[], key: string): string | null {
  return fields.find((field) => field.key === key)?.value ?? null
}
