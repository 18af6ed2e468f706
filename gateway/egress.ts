import { randomBytes } from 'node:crypto'
import { defaultNotice } from '../rulebook/index.ts'
import type { PassParts, SealedParts } from './compose.ts'
import type { OutgoingMail, Reading } from './courier.ts'
import type { DkimKey } from './dkim-key.ts'
import { signatureFault } from './dkim-look.ts'
import { watchBase64 } from './egress-base64.ts'
import { passedHeaderFault, sealedHeaderFault } from './egress-header.ts'
import { noticeFault } from './egress-notice.ts'
import { GatewayError } from './error.ts'
import type { NoticeTemplates } from './notice-template.ts'

/**
 * What was found about to leave that may not: 554 5.6.0 with the incident. Nothing was delivered: the stream broke off before its end.
 */
export class EgressViolation extends GatewayError {
  readonly incident: string
  /** Which check failed; for the log. Never holds octets of the mail. */
  readonly check: string

  constructor(incident: string, check: string) {
    super('egress', { message: `the last look stopped a mail: ${check} (incident ${incident})` })
    this.incident = incident
    this.check = check
  }
}

/**
 * The last look. Each function gives the same mail back with its stream under watch: an octet that is neither a kept field, nor template
 * text with its slots, nor base64 of exactly the sealed copy makes the stream throw {@link EgressViolation} before it is passed on.
 * It shares no code with compose.ts: what one gets wrong the other is to notice.
 */
export type Egress = {
  sealed(mail: OutgoingMail, parts: SealedParts): OutgoingMail
  /** Of a passed mail, that our stamps stand first and that no field is left which must reach no recipient. */
  passed(mail: OutgoingMail, parts: PassParts): OutgoingMail
  /** Of a mail that is under watch already, with our DKIM-Signature fields before it: throws where they are not one of ours a key. */
  signed(mail: OutgoingMail, signatures: string, keys: readonly DkimKey[]): OutgoingMail
}

export type EgressParts = {
  readonly templates: NoticeTemplates
  /** Told of every violation, once: log it and count it. */
  readonly alarm: (violation: EgressViolation) => void
}

/** Octets before the attachment, or of a passed header, that are held back until they are looked at. */
const HEAD_LIMIT = 4 * 1024 * 1024
const ATTACHMENT_HEADER =
  'Content-Type: application/vnd.sealpost;\r\n name="protected-message.sealpost"\r\n' +
  'Content-Transfer-Encoding: base64\r\n' +
  'Content-Disposition: attachment;\r\n filename="protected-message.sealpost"\r\n\r\n'

export function createEgress({ templates, alarm }: EgressParts): Egress {
  const stop = (check: string): EgressViolation => {
    const violation = new EgressViolation(randomBytes(12).toString('base64url'), check)
    alarm(violation)
    return violation
  }
  const headFault = (head: string, parts: SealedParts): string | null => {
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) return 'there is no end of the header'
    const framing = sealedHeaderFault(head.slice(0, end + 2), parts)
    if (typeof framing === 'string') return framing
    return noticeFault(
      head.slice(end + 4),
      framing,
      templates.of(parts.notice ?? defaultNotice),
      parts,
      ATTACHMENT_HEADER,
    )
  }
  return {
    sealed: (mail, parts) => ({ ...mail, open: (reading) => watchSealed(mail.open(reading), parts, headFault, stop) }),
    passed: (mail, parts) => ({ ...mail, open: (reading) => watchPassed(mail, parts, stop, reading) }),
    signed(mail, signatures, keys) {
      const fault = signatureFault(signatures, keys)
      if (fault !== null) throw stop(fault)
      const octets = Buffer.from(signatures, 'latin1')
      return { ...mail, size: octets.length + mail.size, open: (reading) => signedStream(octets, mail.open(reading)) }
    },
  }
}

async function* signedStream(signatures: Uint8Array, mail: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield signatures
  yield* mail
}

async function* watchSealed(
  mail: AsyncIterable<Uint8Array>,
  parts: SealedParts,
  headFault: (head: string, parts: SealedParts) => string | null,
  stop: (check: string) => EgressViolation,
): AsyncGenerator<Uint8Array> {
  const stream = mail[Symbol.asyncIterator]()
  try {
    const marker = parts.sealed === null ? null : Buffer.from(ATTACHMENT_HEADER, 'latin1')
    const start = await readHead(stream, marker)
    if (start === null) throw stop('the attachment does not begin where it must')
    const head = start.head
    const fault = headFault(head.toString('latin1'), parts)
    if (fault !== null) throw stop(fault)
    yield head
    if (parts.sealed === null) return
    const boundary = /^--(.+)\r\n$/.exec(lastBoundary(head))?.[1] ?? ''
    for await (const step of watchBase64(resume(start.rest, stream), parts.sealed, `--${boundary}--\r\n`)) {
      if (typeof step === 'string') throw stop(step)
      yield step
    }
  } finally {
    await stream.return?.()
  }
}

/** The line before the attachment's header. */
function lastBoundary(head: Buffer): string {
  const before = head.toString('latin1', 0, head.length - ATTACHMENT_HEADER.length)
  return before.slice(before.lastIndexOf('\r\n', before.length - 3) + 2)
}

async function* watchPassed(
  mail: OutgoingMail,
  parts: PassParts,
  stop: (check: string) => EgressViolation,
  reading: Reading | undefined,
): AsyncGenerator<Uint8Array> {
  const stream = mail.open(reading)[Symbol.asyncIterator]()
  try {
    const blank = Buffer.from('\r\n\r\n', 'latin1')
    const start = (await readHead(stream, blank)) ?? (await readHead(mail.open()[Symbol.asyncIterator](), null))
    if (start === null) throw stop('the header does not end')
    const fault = passedHeaderFault(start.head.toString('latin1'), parts)
    if (fault !== null) throw stop(fault)
    yield start.head
    let size = start.head.length
    for await (const chunk of resume(start.rest, stream)) {
      size += chunk.length
      if (size > mail.size) throw stop('the mail is longer than it was')
      yield chunk
    }
    if (size !== mail.size) throw stop('the mail is shorter than it was')
  } finally {
    await stream.return?.()
  }
}

type Start = { readonly head: Buffer; readonly rest: Uint8Array }

/** All up to and with the first `marker` (null: up to the end), and what came with it; null where there is none within the limit. */
async function readHead(stream: AsyncIterator<Uint8Array>, marker: Buffer | null): Promise<Start | null> {
  let held: Buffer = Buffer.alloc(0)
  for (let next = await stream.next(); next.done !== true; next = await stream.next()) {
    const from = marker === null ? 0 : Math.max(0, held.length - marker.length)
    held = Buffer.concat([held, next.value])
    const at = marker === null ? -1 : held.indexOf(marker, from)
    if (marker !== null && at !== -1) {
      const end = at + marker.length
      return { head: held.subarray(0, end), rest: held.subarray(end) }
    }
    if (held.length > HEAD_LIMIT) return null
  }
  return marker === null ? { head: held, rest: new Uint8Array() } : null
}

async function* resume(rest: Uint8Array, stream: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (rest.length > 0) yield rest
  for (let next = await stream.next(); next.done !== true; next = await stream.next()) yield next.value
}
